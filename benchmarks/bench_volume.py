"""From a file to a volume: processor time beside the engine's alone, the memory that is taken, and every method.

A DXchange file of bitshuffle-LZ4 frames is made in a folder that goes again. The reconstruction runs in a process of
its own for each limit, compiled before; its peak of memory is counted above that after the imports. The second table
has every method of this package on every phantom, at 256 columns and 360 angles.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from danmax_bluesky.pipelines.any_file import frames_of_file
from danmax_bluesky.pipelines.reconstruction import reconstruct_frames
from danmax_bluesky.testing.phantoms import BONE, DISC, OFF_CENTRE, SHEPP_LOGAN, project, truth
from danmax_bluesky.tomography.methods import Geometry, reconstruct_with
from danmax_bluesky.tomography.quality import compare_slices, disc_mask
from danmax_bluesky.tomography.tori import ReconstructionSettings

SIZES = {(450, 128, 512): 256, (901, 256, 1024): 768, (1800, 128, 2048): 2560}
"""Angles, rows and columns -> the smaller limit, MB."""
OURS = ("fourier", "fbp", "sirt", "cgls", "tv")


def make(path: Path, n_angles: int, height: int, width: int) -> None:
    """Frames with noise, axis 3.3 columns off the middle."""
    theta = np.arange(n_angles) * 180 / n_angles
    lines = project(BONE, width, theta, (width - 1) / 2 + 3.3, 0.8)
    noise = np.random.default_rng(0).normal(0, 1, (height, width))
    with h5py.File(path, "w") as file:
        options = {"chunks": (1, height, width), **hdf5plugin.Bitshuffle(cname="lz4")}
        file["implements"], file["exchange/theta"] = "exchange", theta
        data = file.create_dataset("exchange/data", (n_angles, height, width), "u2", **options)
        for angle, line in enumerate(lines):
            counts = 20000 * np.exp(-line)[None]
            data[angle] = 100 + counts + np.sqrt(counts) * np.roll(noise, 17 * angle)
        for name, level in {"white": 20100, "dark": 100}.items():
            file[f"exchange/data_{name}"] = np.full((20, height, width), level, np.uint16)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def volume(path: Path, memory_mb: int) -> None:
    """In a process of its own: reconstruct, and print what it took."""
    settings = ReconstructionSettings(memory_mb=memory_mb, rows="all")
    frames, _ = frames_of_file(path)
    lines = np.ones((16, 8, 64), np.float32)  # compiled here, and not measured
    reconstruct_with("fourier", lines, Geometry(64, np.arange(8.0) * 22.5, 31.5))
    before_mb, engine_s = peak_mb(), [0.0]
    start = time.process_time()
    made = reconstruct_frames(
        frames, settings, range(frames.height), centre_px=(frames.width - 1) / 2 + 3.3, folder=path.parent
    )
    inner = made.engine.interleaved

    def measured(lines: np.ndarray, out: np.ndarray) -> np.ndarray:
        begin = time.process_time()
        slices = inner(lines, out)
        engine_s[0] += time.process_time() - begin
        return slices

    object.__setattr__(made.engine, "interleaved", measured)
    with h5py.File(path.with_name("volume.h5"), "w") as file:
        data = file.create_dataset(
            "data", (frames.height, made.width, made.width), "f4", chunks=(1, made.width, made.width)
        )
        for rows, slices in made.blocks():
            data[rows[0] : rows[-1] + 1] = slices
    made.close()
    used_s = time.process_time() - start
    plan = made.plan
    print(json.dumps([engine_s[0], used_s, peak_mb() - before_mb, plan.lanes, plan.on_disk]))


def volumes() -> None:
    print("| frames | limit / MB | lanes | scratch | engine / s | all / s | ratio | peak / MB |")
    print("|---|---|---|---|---|---|---|---|")
    for size, least in SIZES.items():
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            path = Path(folder) / "scan.h5"
            make(path, *size)
            for limit in (least, 2 * least):
                command = [sys.executable, __file__, "--one", str(path), str(limit)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                engine_s, used_s, peak, lanes, on_disk = json.loads(done.stdout)
                print(
                    f"| {' x '.join(map(str, size))} | {limit} | {lanes} | {'disk' if on_disk else 'memory'} "
                    f"| {engine_s:.1f} | {used_s:.1f} | {used_s / engine_s:.2f} | {peak:.0f} |",
                    flush=True,
                )


def methods() -> None:
    width, theta = 256, np.arange(360) * 0.5
    phantoms = {"bone": (BONE, 0.9), "Shepp-Logan": (SHEPP_LOGAN, 0.9), "off-centre": (OFF_CENTRE, 0.9)}
    phantoms["disc"] = (DISC, 0.98)
    print("\n| phantom | method | PSNR / dB | NRMSE | gain | s a slice |\n|---|---|---|---|---|---|")
    for name, (phantom, scale) in phantoms.items():
        lines = project(phantom, width, theta, 130.2, scale)
        true = truth(phantom, width, scale)
        noisy = -np.log(np.maximum(np.random.default_rng(1).poisson(1e4 * np.exp(-lines)), 1) / 1e4)
        for what, seen in {name: lines, f"{name}, 1e4 photons": noisy}.items():
            for method in OURS:
                start = time.process_time()
                image = reconstruct_with(method, seen[None].astype(np.float32), Geometry(width, theta, 130.2))[0]
                used_s = time.process_time() - start
                inside = disc_mask(width)
                span = max(float(np.ptp(true[inside])), float(true.max()))
                psnr = 20 * np.log10(span / np.sqrt(np.mean((image - true)[inside] ** 2)))
                quality = compare_slices(image, true) if np.ptp(true[inside]) > 0 else None
                figures = f"{quality.nrmse:.4f} | {quality.gain:.4f}" if quality else " | "
                print(f"| {what} | {method} | {psnr:.1f} | {figures} | {used_s:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("FILE", "MEMORY_MB"), help="one reconstruction, in this process")
    parser.add_argument("--only", choices=["volumes", "methods"], help="one of the tables")
    options = parser.parse_args()
    if options.one:
        volume(Path(options.one[0]), int(options.one[1]))
        return
    if options.only != "methods":
        volumes()
    if options.only != "volumes":
        methods()


if __name__ == "__main__":
    main()
