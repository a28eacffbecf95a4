"""DXchange by link and by copy: time, memory, and the rate beside that of `cp` on the same disk.

Run it as `python benchmarks/bench_export.py [GB]`: frames of so many GB, 2 by default, are written and copied. Files go
to the folder that DANMAX_BENCH_DIR names, or to a temporary one, and are removed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.formats.dxchange import Export
from danmax_bluesky.formats.tree import Copying
from danmax_bluesky.storage.check import check_scan
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.testing.compose import Part, compose_tomography
from danmax_bluesky.testing.replay import write_journal

BITSHUFFLE = dict(hdf5plugin.Bitshuffle(cname="lz4"))
LINKED = """
import resource, sys, time
from pathlib import Path
from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.storage.journals import record_of
record = record_of(Path(sys.argv[1]))
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
write_dxchange(record)
print(time.perf_counter() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def scan(root: Path, frames: int, shape: tuple[int, int], *, sparse: bool) -> Path:
    """A tomography whose frames are written by hand; returns its journal.

    Args:
        root: of the data.
        frames: number of them.
        shape: of each.
        sparse: every frame is the same chunk of a few kilobytes; otherwise noise, which hardly compresses.
    """
    angles = np.linspace(0.0, 180.0, frames - 42).tolist()
    parts = [
        Part("dark", "dark", [0.0] * 20),
        Part("flat", "flat", [0.0] * 20),
        Part("proj", "projection", angles),
        Part("ortho", "alignment", [90.0, 0.0]),
    ]
    run = compose_tomography(root, parts, frame_shape=(4, 4))
    random = np.random.default_rng(1)
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+", libver="latest") as file:
        group = file["entry/instrument/orca"]
        del group["data"]
        data = group.create_dataset("data", (frames, *shape), "u2", chunks=(1, *shape), **BITSHUFFLE)
        chunk = b""
        for frame in range(frames):
            if (not sparse and frame < 8) or frame == 0:
                data[frame] = 0 if sparse else random.integers(0, 65535, shape, "u2")
                _, chunk = data.id.read_direct_chunk((frame, 0, 0))
            else:
                data.id.write_direct_chunk((frame, 0, 0), chunk)
    for name, doc in run.documents:
        for key in doc.get("data_keys", {}).values() if name == "descriptor" else ():
            if key.get("dtype") == "array":
                key["shape"] = list(shape)
    return write_journal(run)


def forget(path: Path) -> None:
    """Let the next reader of a file begin at the disk, not at what the system remembers of it."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(source: Path, out: Path, action: Callable[[], object]) -> float:
    """Seconds that it takes to make `out`, from the disk and onto it."""
    forget(source)
    began = time.perf_counter()
    action()
    with out.open("rb") as stream:
        os.fsync(stream.fileno())
    return time.perf_counter() - began


def by_link(folder: Path) -> None:
    journal = scan(folder / "link", 3000, (4096, 4096), sparse=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(LINKED), str(journal)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, grown_mb = map(float, done.stdout.split())
    print(f"by link, 100.7 GB, 3000 frames   {seconds:6.2f} s   {grown_mb:6.0f} MB more memory")
    began = time.perf_counter()
    findings = check_scan(record_of(journal))
    print(f"danmax check of the same         {time.perf_counter() - began:6.2f} s   {len(findings)} findings")
    shutil.rmtree(folder / "link")


def by_copy(folder: Path, gigabytes: float) -> None:
    shape = (1024, 2048)
    frames = max(60, int(gigabytes * 1e9 / (shape[0] * shape[1] * 2)))
    journal = scan(folder / "copy", frames, shape, sparse=False)
    source, out = journal.with_name("scan-0001_orca.h5"), folder / "out.h5"
    size_mb = source.stat().st_size / 1e6
    record = record_of(journal)
    rates: dict[str, list[float]] = {}
    for _ in range(3):  # in turn, since other programs use the disk too
        rates.setdefault("cp", []).append(
            size_mb / timed(source, out, partial(subprocess.run, ["cp", str(source), str(out)], check=True))
        )
        out.unlink()
        for label, copying in (
            ("--copy", Copying()),
            ("--copy --order y:theta:x", Copying(order="y:theta:x")),
            ("--copy --compression none", Copying(compression="none")),
        ):
            export = partial(write_dxchange, record, export=Export(copying=copying), out=out)
            rates.setdefault(label, []).append(size_mb / timed(source, out, export))
            out.unlink()
    best = {label: max(found) for label, found in rates.items()}
    print(f"\n{frames} frames of {shape[1]} x {shape[0]}, {size_mb:.0f} MB; best of three")
    for label, rate in best.items():
        print(f"{label:32} {rate:6.0f} MB/s   {100 * rate / best['cp']:4.0f} % of cp")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bench-export-", dir=os.environ.get("DANMAX_BENCH_DIR")))
    try:
        by_link(folder)
        by_copy(folder, float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
