"""The twin at the beamline's scale: 2048 x 512 pixels at 200 frames/s, through the whole session.

Prints processor time of the RunEngine's process, the camera's backlog, memory, and lost frames. The clock is the one on
the wall, so the rate is given; what is measured is whether it is kept, and what it costs.

    python benchmarks/bench_twin_rate.py [--seconds 60] [--rate 200]
"""

import argparse
import asyncio
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from danmax_bluesky.config import load_settings
from danmax_bluesky.runs.record import RecordBuilder
from danmax_bluesky.session import make_session

EXPOSURE_S, READOUT_S = 0.004, 0.001


def resident_mb() -> float:
    """Memory of this process, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def cpu_s_of_children() -> float:
    """Processor seconds of all processes that this one started: the cameras."""
    ticks = os.sysconf("SC_CLK_TCK")
    pids = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    stats = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / ticks


def frames_behind(session) -> int:
    """Triggers that the PandA captured and the camera has not written."""

    async def look() -> int:
        captured = await session.beamline.panda.data.num_captured.get_value()
        return captured - await session.beamline.cameras["orca"].frames_written.get_value()

    return asyncio.run_coroutine_threadsafe(look(), session.RE.loop).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("DANMAX_BENCH_DIR")))
    intervals = round(chosen.seconds * chosen.rate)
    exposure_s = 1 / chosen.rate - READOUT_S
    settings = load_settings(
        options={
            "data_root": str(folder),
            "detectors.orca.width": 2048,
            "detectors.orca.height": 512,
            "detectors.orca.readout_s": READOUT_S,
            "twin.frame_bank": 64,
            "twin.clock": "real",
            "catalog.kind": "off",
        }
    )
    builder = RecordBuilder()
    backlog, memory = [0], []
    try:
        with make_session(settings) as session:
            session.RE.subscribe(builder)
            done = threading.Event()

            def watch() -> None:
                while not done.wait(0.25):
                    backlog.append(frames_behind(session))
                    memory.append(resident_mb())

            watcher = threading.Thread(target=watch)
            plan = session.plans.tomo_scan(
                "ascanct", "tom_ry", 0, 180, intervals, exposure_s, npt_fields=20, fields_flag="110000"
            )
            before, camera_before, start = time.process_time(), cpu_s_of_children(), time.monotonic()
            watcher.start()
            session.RE(plan)
            wall, cpu = time.monotonic() - start, time.process_time() - before
            camera_cpu = cpu_s_of_children() - camera_before
            done.set()
            watcher.join()
        record = builder.record
        frames = sum(len(segment) for segment in record.segments)
        table = Table("what", "value", title="2048 x 512 pixels through the whole session")
        table.add_row("frames asked for", str(sum(record.planned.values())))
        table.add_row("frames lost", str(sum(record.missing.values())))
        table.add_row("wall time", f"{wall:.1f} s, of which {intervals / chosen.rate:.1f} s are the sweep")
        table.add_row("processor time, RunEngine's process", f"{cpu:.2f} s, {cpu / frames * 1e3:.3f} ms a frame")
        table.add_row(
            "processor time, camera's process", f"{camera_cpu:.2f} s, {camera_cpu / frames * 1e3:.3f} ms a frame"
        )
        table.add_row("largest backlog of the camera", f"{max(backlog)} frames")
        table.add_row("memory, RunEngine's process", f"{min(memory):.0f} to {max(memory):.0f} MB")
        Console(width=100).print(table)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
