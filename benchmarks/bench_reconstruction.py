"""The engine that reconstructs beside the one that it is measured against: processor time a slice, and how right it is.

1500 projections of the Shepp-Logan phantom. The reference is `DirectFourier`, by finufft. Both run in one process, one
after the other, so that a busy machine slows both; times are those of the processor, summed over the threads.
`DANMAX_FFT=ducc0` measures with that library, if it is installed. With `--peers`, algotom's FBP and, where
it is installed, astra's on the CPU reconstruct one slice each.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from danmax_bluesky.testing.phantoms import SHEPP_LOGAN, project, truth
from danmax_bluesky.tomography.direct_fourier import DirectFourier
from danmax_bluesky.tomography.fast_fourier import library
from danmax_bluesky.tomography.interleaved import MOST_LANES, InterleavedFourier
from danmax_bluesky.tomography.quality import compare_slices, disc_mask

N_ANGLES = 1500


def psnr_db(image: np.ndarray, true: np.ndarray) -> float:
    inside = disc_mask(len(true))
    return float(20 * np.log10(np.ptp(true) / np.sqrt(np.mean((image - true)[inside] ** 2))))


def measured(reconstruct: Callable[[], Any], n_slices: int, repeats: int) -> tuple[float, Any]:
    """Least processor time of a slice, milliseconds, and the slices."""
    times, slices = [], None
    for _ in range(repeats):
        start = time.process_time()
        slices = reconstruct()
        times.append((time.process_time() - start) / n_slices * 1e3)
    return min(times), slices


def astra_slice(lines: np.ndarray, theta: np.ndarray, width: int) -> np.ndarray | None:
    try:
        import astra
    except ImportError:
        return None
    volume = astra.create_vol_geom(width, width)
    projector = astra.create_projector("linear", astra.create_proj_geom("parallel", 1.0, width, -theta), volume)
    data, image = astra.data2d.create("-sino", astra.projectors(projector), lines), astra.data2d.create("-vol", volume)
    config = astra.astra_dict("FBP")
    config |= {"ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": image}
    astra.algorithm.run(astra.algorithm.create(config))
    return astra.data2d.get(image)


def peers(lines: np.ndarray, theta_deg: np.ndarray, width: int) -> dict[str, Callable[[], Any]]:
    from algotom.rec.reconstruction import fbp_reconstruction

    theta = np.deg2rad(theta_deg)
    return {
        "algotom FBP": lambda: fbp_reconstruction(
            lines, (width - 1) / 2, angles=theta, ratio=None, apply_log=False, gpu=False
        ),
        "astra FBP": lambda: astra_slice(lines, theta, width),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 2048])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="measure algotom and astra too, which takes minutes")
    options = parser.parse_args()
    theta = np.arange(N_ANGLES) * 180 / N_ANGLES
    print(f"{N_ANGLES} projections, Fourier transforms by {library()}; the plan is made before\n")
    print("| width | threads | engine | plan / s | ms a slice | times as fast | PSNR / dB | gain |")
    print("|---|---|---|---|---|---|---|---|")
    for width in options.widths:
        lines = project(SHEPP_LOGAN, width, theta, (width - 1) / 2).astype(np.float32)
        true = truth(SHEPP_LOGAN, width)
        stack = np.repeat(lines[None], MOST_LANES, axis=0)
        for threads in options.threads:
            usual = 0.0
            for name, kind in {"finufft": DirectFourier, "interleaved": InterleavedFourier}.items():
                kind(width, theta, (width - 1) / 2, threads=threads)(stack[:1])  # compile
                start = time.process_time()
                engine = kind(width, theta, (width - 1) / 2, threads=threads)
                plan_s = time.process_time() - start
                ms, slices = measured(lambda engine=engine, stack=stack: engine(stack), MOST_LANES, options.repeats)
                usual = usual or ms
                quality = compare_slices(slices[0], true)
                print(
                    f"| {width} | {threads} | {name} | {plan_s:.2f} | {ms:.1f} | {usual / ms:.2f} "
                    f"| {psnr_db(slices[0], true):.2f} | {quality.gain:.4f} |",
                    flush=True,
                )
        for name, reconstruct in (peers(lines, theta, width) if options.peers else {}).items():
            slow, image = measured(reconstruct, 1, 1)
            if image is not None:
                print(f"| {width} | 1 | {name} | | {slow:.0f} | {usual / slow:.3f} | {psnr_db(image, true):.2f} | |")


if __name__ == "__main__":
    main()
