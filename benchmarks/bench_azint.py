"""Azimuthal integration from file to file: pyFAI's documented way, pyFAI's fastest, and ours, on the same frames.

Run it as `python benchmarks/bench_azint.py [speed] [memory] [latency]`, all three without a word. Frames are those of a
Pilatus 2M, int32, bitshuffle-LZ4, one chunk each, with the rings of LaB6. Each way reads them from a file and writes
intensities and errors to another:

- documented: `integrate1d_ng(dataset[i], bins)` with pyFAI's default, a bounding box and CSR
- alike: the same with the splitting of the row
- fastest: CSC, and without pyFAI's checks of what did not change
- ours: `integrate_scan`

The ways take turns, and the best of three rounds counts; processor milliseconds stand beside, since the clock on the
wall also sees whatever else the machine does. Files go to the folder that DANMAX_BENCH_DIR names, or to a temporary
one, and are removed.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")

import h5py
import numpy as np
import zmq
from pyFAI.calibrant import get_calibrant
from rich.console import Console
from rich.table import Table

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.callbacks.live_integration import Integrate
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import ScanInfo, output_path
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.powder import DATASET, DetectorWriter, PowderRun

SHAPE = (1679, 1475)
WAVELENGTH_M = 12.39842e-10 / 35
POLARIZATION = 0.965
LEVELS = {"sparse": 0.1, "typical": 5.0, "bright": 1000.0}
DISTINCT = 8
FEW, MANY = 24, 512
"""Frames for pyFAI, whose matrix is made before, and for ours, which opens and closes everything each time."""
ROUNDS = 3
WAYS = ("documented", "alike", "fastest", "ours, 1 thread", "ours")
SPLITTINGS = {"bounding box": "bbox", "no splitting": "no"}
console = Console(width=190)


def geometry() -> Geometry:
    """A detector whose beam is near its middle."""
    return Geometry(0.3, 0.14, 0.13, 0.0, 0.0, 0.0, WAVELENGTH_M, 172e-6, 172e-6, SHAPE)


def gaps() -> np.ndarray:
    """The gaps between the modules, True is bad."""
    mask = np.zeros(SHAPE, bool)
    for first in range(195, SHAPE[0], 212):
        mask[first : first + 17] = True
    for first in (487, 981):
        mask[:, first : first + 7] = True
    return mask


def frames_of(level: float) -> np.ndarray:
    """Distinct frames: LaB6 with `level` counts a pixel on average, on a faint background; -1 in the gaps."""
    calibrant = get_calibrant("LaB6")
    calibrant.wavelength = WAVELENGTH_M
    rings = np.asarray(calibrant.fake_calibration_image(geometry().integrator(), shape=SHAPE, Imax=20.0)) + 0.3
    rng = np.random.default_rng(0)
    rate = rings * (level / rings.mean())
    return np.stack([np.where(gaps(), -1, rng.poisson(rate)).astype(np.int32) for _ in range(DISTINCT)])


@dataclass
class Spent:
    """Milliseconds a frame of the best round."""

    wall: float = float("inf")
    cpu: float = float("inf")

    def add(self, work: Callable[[], object], frames: int) -> None:
        """One more round."""
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self.wall = min(self.wall, (time.perf_counter() - wall) / frames * 1e3)
        self.cpu = min(self.cpu, (time.process_time() - cpu) / frames * 1e3)


def with_pyfai(source: Path, target: Path, bins: int, method: tuple[str, str, str], *, checks: bool) -> None:
    """Frame by frame, as pyFAI's documentation has it; `checks` False leaves out the check of the mask's digest."""
    integrator = INTEGRATORS.setdefault((method, bins), geometry().integrator())
    more = {} if checks else {"safe": False}
    with h5py.File(source) as read, h5py.File(target, "w") as write:
        frames = read[DATASET]
        intensity = write.create_dataset("I", (len(frames), bins), "f4")
        sigma = write.create_dataset("I_errors", (len(frames), bins), "f4")
        for index in range(len(frames)):
            result = integrator.integrate1d_ng(
                frames[index],
                bins,
                unit="2th_deg",
                mask=MASK,
                method=method,
                error_model="poisson",
                correctSolidAngle=True,
                polarization_factor=POLARIZATION,
                **more,
            )
            intensity[index], sigma[index] = result.intensity, result.sigma


INTEGRATORS: dict = {}
MASK = gaps()


def recipe(folder: Path, bins: int, splitting: str) -> dict:
    """The same as a recipe."""
    (folder / "bench.poni").write_text(geometry().poni_text())
    np.save(folder / "mask.npy", MASK)
    return {
        "poni": str(folder / "bench.poni"),
        "mask": str(folder / "mask.npy"),
        "unit": "2th_deg",
        "radial_bins": bins,
        "splitting": splitting,
        "polarization_factor": POLARIZATION,
    }


def with_ours(source: Path, target: Path, settings: dict, threads: int) -> None:
    """From the detector's file to a file of patterns, all that belongs to it included."""
    integrate_scan(source, settings, target, info=ScanInfo(run_uid="bench"), threads=threads, if_exists="replace")


def largest_difference(ours: Path, theirs: Path) -> float:
    """Of the intensities, in units of the largest."""
    with h5py.File(theirs) as file:
        expected = file["I"][...]
    found = np.nan_to_num(read_patterns(ours).intensity[: len(expected)])
    return float(np.abs(found - expected).max() / expected.max())


@dataclass
class Case:
    """One kind of frames, of bins and of splitting."""

    name: tuple[str, str, int]
    spent: dict[str, Spent]
    difference: float = 0.0


def speed(folder: Path) -> None:
    """Print the table of ratios."""
    cases = []
    for level, counts in LEVELS.items():
        sources = folder / f"{level}_few.h5", folder / f"{level}_many.h5"
        for source, number in zip(sources, (FEW, MANY), strict=True):
            with DetectorWriter(source, frames_of(counts)) as writer:
                writer.append(number)
        for label, splitting in SPLITTINGS.items():
            for bins in (1000, 3000):
                cases.append(measure(folder, sources, (level, label, bins), splitting))
        for source in sources:
            source.unlink()
    title = f"from file to file, {os.environ['OMP_NUM_THREADS']} threads; milliseconds a frame on the wall (processor)"
    table = Table(title=title)
    for column in ("frames", "splitting", "bins", *WAYS):
        table.add_column(column)
    for column in ("to documented: wall", "processor", "to alike", "to fastest", "2 / 1 threads", "difference"):
        table.add_column(column, justify="right")
    for case in cases:
        documented, alike, fastest, single, ours = (case.spent[name] for name in WAYS)
        table.add_row(
            *(str(part) for part in case.name),
            *(f"{case.spent[name].wall:.2f} ({case.spent[name].cpu:.2f})" for name in WAYS),
            f"{documented.wall / ours.wall:.1f}",
            f"{documented.cpu / ours.cpu:.1f}",
            f"{alike.cpu / ours.cpu:.1f}",
            f"{fastest.cpu / ours.cpu:.1f}",
            f"{single.wall / ours.wall:.2f}",
            f"{case.difference:.0e}",
        )
    console.print(table)


def measure(folder: Path, sources: tuple[Path, Path], name: tuple[str, str, int], splitting: str) -> Case:
    """Let the ways take turns."""
    bins, settings = name[2], recipe(folder, name[2], splitting)
    few, many = sources
    theirs, ours = folder / "theirs.h5", folder / "ours.h5"
    works: list[tuple[Callable[[], None], int]] = [
        (lambda: with_pyfai(few, folder / "documented.h5", bins, ("bbox", "csr", "cython"), checks=True), FEW),
        (lambda: with_pyfai(few, theirs, bins, (splitting, "csr", "cython"), checks=True), FEW),
        (lambda: with_pyfai(few, folder / "fastest.h5", bins, (splitting, "csc", "cython"), checks=False), FEW),
        (lambda: with_ours(many, ours, settings, 1), MANY),
        (lambda: with_ours(many, ours, settings, 2), MANY),
    ]
    case = Case(name, {way: Spent() for way in WAYS})
    for turn in range(ROUNDS + 1):
        for way, (work, frames) in zip(WAYS, works, strict=True):
            (Spent() if turn == 0 else case.spent[way]).add(work, frames)  # the first makes matrices and compiles
    case.difference = largest_difference(ours, theirs)
    INTEGRATORS.clear()
    return case


MEMORY = """
import resource, sys
from pathlib import Path
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import ScanInfo
import json
report = integrate_scan(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), info=ScanInfo(run_uid="bench"))
print(report.frames, report.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(folder: Path) -> None:
    """Print the peak memory of a short and of a long scan."""
    frames = frames_of(0.005)
    settings = recipe(folder, 3000, "bbox")
    for number in (100, 1000, 10_000):
        source, target = folder / "long.h5", folder / "patterns.h5"
        with DetectorWriter(source, frames) as writer:
            writer.append(number)
        command = [sys.executable, "-c", MEMORY, str(source), json.dumps(settings), str(target)]
        done, seconds, most = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        console.print(f"{done} frames with a bounding box: {float(most):.0f} MiB at most, {float(seconds):.0f} s")
        source.unlink()
        target.unlink()


def latency(folder: Path) -> None:
    """Print how long after its frame a pattern is published, and what happens beyond the capacity."""
    frames = frames_of(LEVELS["typical"])
    for number, (label, splitting, rate_hz, count) in enumerate(
        (
            ("bounding box", "bbox", 25.0, 500),
            ("bounding box", "bbox", 50.0, 500),
            ("no splitting", "no", 250.0, 1500),
            ("bounding box, as fast as the disk", "bbox", 0.0, 1500),
        ),
        1,
    ):
        late, backlog, seconds, calls_s = follow(folder / f"rate{number}", frames, splitting, rate_hz, count)
        wanted = f"{rate_hz:.0f} frames/s" if rate_hz else "no pause"
        text = f"median {np.median(late) * 1e3:.0f} ms, 95th percentile {np.percentile(late, 95) * 1e3:.0f} ms"
        console.print(
            f"{label}, {wanted}: {len(late)} of {count} patterns published, {text}; "
            f"backlog at most {backlog} frames, all published {seconds:.1f} s after the last frame; a document costs "
            f"the RunEngine {np.median(calls_s) * 1e6:.0f} µs, at most {calls_s.max() * 1e3:.1f} ms"
        )


def follow(
    folder: Path, frames: np.ndarray, splitting: str, rate_hz: float, count: int
) -> tuple[np.ndarray, int, float, np.ndarray]:
    """One run at a rate.

    Returns:
        The latency of each pattern, the largest backlog, how long it took to catch up, and how long each document took.
    """
    folder.mkdir()
    settings = {"detector": "pilatus", **recipe(folder, 3000, splitting)}
    integrate = Integrate()
    calls_s: list[float] = []

    def timed(name: str, doc: dict) -> None:
        begun = time.perf_counter()
        integrate(name, doc)
        calls_s.append(time.perf_counter() - begun)

    run = PowderRun(folder, [settings], {"primary": ("data", count + 8)}, SHAPE, consumers=[DocumentJournal(), timed])
    headers: list[dict] = []
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"pattern")
    over = threading.Event()

    def listen() -> None:
        while not over.is_set():
            if socket.poll(100):
                headers.append(json.loads(socket.recv_multipart()[1]))

    run.start()
    run.segment("primary")
    with DetectorWriter(run.file, frames) as writer:
        writer.append(8)
        run.rows("primary", 8)
        live = output_path(run.file)
        while not (integrate.address and live.exists() and len(read_patterns(live).index) == 8):
            time.sleep(0.1)  # matrix, compilation
        socket.connect(integrate.address)
        listener = threading.Thread(target=listen)
        listener.start()
        time.sleep(0.5)
        begun = time.perf_counter()
        for index in range(count):
            writer.append(1)
            run.rows("primary", 1)
            if rate_hz:
                time.sleep(max(0.0, begun + (index + 1) / rate_hz - time.perf_counter()))
        last = time.perf_counter()
        run.stop()
        integrate.wait(600)
    caught_up = time.perf_counter() - last
    while sum(len(header["index"]) for header in headers) < count and time.perf_counter() - last < 30 + caught_up:
        time.sleep(0.1)
    over.set()
    listener.join()
    socket.close()
    integrate.close()
    late = np.concatenate([header["latency_s"] for header in headers]).astype(float)
    return late, max(header["backlog"] for header in headers), caught_up, np.array(calls_s)


def main() -> None:
    """Run what was asked for."""
    parts = {"speed": speed, "memory": memory, "latency": latency}
    with tempfile.TemporaryDirectory(prefix="bench-azint-", dir=os.environ.get("DANMAX_BENCH_DIR")) as name:
        for part in sys.argv[1:] or parts:
            parts[part](Path(name))


if __name__ == "__main__":
    main()
