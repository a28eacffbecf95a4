"""How fast the simulated camera writes: frames a second, processor time of its process, megabytes a second.

Run it as `python benchmarks/bench_camera_process.py [seconds]`. Files go to the folder that DANMAX_BENCH_DIR names,
or to a temporary one, and are removed.
"""

import os
import queue
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py

from danmax_bluesky.twin.camera_client import CameraProcess

ORCA = {"kind": "imaging", "pixel_size_m": 5.5e-6, "magnification": 5.0, "exposure_s": 0.004}
SMALL = {**ORCA, "width": 256, "height": 64}
LARGE = {**ORCA, "width": 2048, "height": 512}
PILATUS = {"kind": "counting", "width": 981, "height": 1043, "pixel_size_m": 172e-6, "distance_m": 0.2}
DARKS, FLATS, PER_TURN = 20, 20, 720


def gates(first: int, number: int) -> dict[str, list[Any]]:
    """Triggers of a scan that begins with darks and flats and then turns."""
    triggers = list(range(first, first + number))
    start_ns = [5_000_000 * trigger for trigger in triggers]
    return {
        "start_ns": start_ns,
        "end_ns": [start + 4_000_000 for start in start_ns],
        "trigger": triggers,
        "angle_deg": [trigger * 360 / PER_TURN for trigger in triggers],
        "open": [int(trigger >= DARKS) for trigger in triggers],
        "x_mm": [20.0 if DARKS <= trigger < DARKS + FLATS else 0.0 for trigger in triggers],
        "y_mm": [0.0] * number,
        "z_mm": [0.0] * number,
        "beam": [1.0] * number,
        "lost": [0] * number,
    }


def processor_s(pid: int) -> float:
    """Processor time that a process has used so far, seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(label: str, config: dict[str, Any], number: int, rate_hz: float | None, folder: Path) -> None:
    events: queue.Queue[dict[str, Any]] = queue.Queue()
    path = folder / "bench.h5"
    camera = CameraProcess("camera", config, events.put)

    def wait(kind: str) -> dict[str, Any]:
        while (event := events.get(timeout=600))["event"] != kind:
            if event["event"] in ("error", "died"):
                raise SystemExit(event["message"])
        return event

    begin = time.perf_counter()
    camera.start()
    try:
        wait("ready")
        camera.arm(str(path), number)
        wait("armed")
        armed_s = time.perf_counter() - begin
        assert camera.pid is not None
        begin, cpu = time.perf_counter(), processor_s(camera.pid)
        batch = 10
        for first in range(0, number, batch):
            if rate_hz:
                time.sleep(max(0.0, begin + first / rate_hz - time.perf_counter()))
            camera.expose(gates(first, min(batch, number - first)))
        fed_s = time.perf_counter() - begin
        camera.disarm()
        written = wait("disarmed")["written"]
        took_s = time.perf_counter() - begin
        cpu_ms = (processor_s(camera.pid) - cpu) / number * 1e3
    finally:
        camera.close()
    size_mb = path.stat().st_size / 1e6
    with h5py.File(path) as file:
        stored = len(file["entry/instrument/camera/data"])
    path.unlink()
    behind_ms = (took_s - max(fed_s, number / rate_hz if rate_hz else 0)) * 1e3
    print(
        f"{label:42}{written:7d}/{stored:<7d}{number / took_s:8.0f}{cpu_ms:9.2f}{size_mb / took_s:8.0f}"
        f"{armed_s:9.2f}{f'{behind_ms:9.0f}' if rate_hz else '        -'}"
    )


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(
        f"{'camera':42}{'written/stored':>15}{'frames/s':>8}{'CPU ms':>9}{'MB/s':>8}{'armed s':>9}{'behind ms':>10}\n"
        "(CPU ms: processor time of the camera's process for a frame; armed: seconds after its start; "
        "behind: milliseconds from the last trigger until the file was closed)"
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("DANMAX_BENCH_DIR")) as name:
        folder = Path(name)
        measure("256 x 64, phantom rendered", SMALL, 1000, None, folder)
        measure("2048 x 512, phantom rendered", LARGE, 200, None, folder)
        measure("2048 x 512, bank of 64", {**LARGE, "frame_bank": 64}, 1000, None, folder)
        paced = int(200 * seconds)
        measure(f"2048 x 512, bank of 64, 200/s for {seconds:g} s", {**LARGE, "frame_bank": 64}, paced, 200.0, folder)
        measure("981 x 1043, powder rendered", PILATUS, 100, None, folder)
        measure("981 x 1043, powder, bank of 8", {**PILATUS, "frame_bank": 8}, 500, None, folder)


if __name__ == "__main__":
    main()
