"""What a tomography costs beyond the motion and the exposure that its hardware needs, and does it grow with frames?

Wall time of the plan, from the call of the RunEngine to its return, minus what the twin's motors and gates were busy
for; how long the files (master, DXchange, drift, digests) then still take, behind the prompt; and the processor time
that the process of the RunEngine spends on a frame, all of this included. Real clock, encoded frames from a bank.
"""

import argparse
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session

SIZES = {181: (2048, 512), 1801: (2048, 512), 18010: (64, 64)}
EXPOSURE_S, LATENCY_S, FIELDS = 0.005, 0.0, 20


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def busy_s(intervals_ns: list[tuple[int, int]]) -> float:
    """Length of the union of some intervals, seconds."""
    total = end = 0
    for begin, until in sorted(intervals_ns):
        total += max(0, until - max(begin, end))
        end = max(end, until)
    return total / 1e9


def hardware_s(world: Any, moves: list[tuple[int, int]]) -> float:
    """Seconds in which a motor moved, or a phase was being exposed: gate after gate with their dead times."""
    starts, ends = (np.asarray(world.exposures["orca"][name], np.int64) for name in ("start_ns", "end_ns"))
    longest_gap_ns = 3 * EXPOSURE_S * 1e9
    cuts = np.flatnonzero(starts[1:] - ends[:-1] > longest_gap_ns) + 1
    exposures = [(int(a[0]), int(b[-1])) for a, b in zip(np.split(starts, cuts), np.split(ends, cuts), strict=True)]
    return busy_s(moves + exposures)


def watch_moves(session: Any, moves: list[tuple[int, int]]) -> None:
    """Note from when to when each motor moves."""
    world = session.beamline.twin.world
    for name, motor in session.beamline.motors.items():
        axis, began = world.axes[name], {}

        def told(reading: Any, axis: Any = axis, began: dict[str, int] = began) -> None:
            moving = next(iter(reading.values()))["value"]
            if moving:
                began["ns"] = world.clock.now_ns()
            elif "ns" in began:
                moves.append((began.pop("ns"), world.clock.now_ns()))

        session.RE.loop.call_soon_threadsafe(motor.moving.subscribe_reading, told)


def measure(projections: int, width: int, height: int) -> dict[str, float]:
    options = {
        "data_root": tempfile.mkdtemp(), "twin.frame_bank": 32, "catalog.kind": "off", "formats.integrate": False,
        "detectors.orca.width": width, "detectors.orca.height": height, "motors.tom_ry.velocity": 360,
    }  # fmt: skip
    with make_session(load_settings(options=options)) as session:
        moves: list[tuple[int, int]] = []
        watch_moves(session, moves)

        def scan(num: int) -> Any:
            return session.plans.tomo_scan(
                "ascanct", "tom_ry", 0, 180, num - 1, EXPOSURE_S, latency=LATENCY_S, npt_fields=FIELDS,
                fields_flag="111111", tomo_det="orca",
            )  # fmt: skip

        session.RE(scan(61))  # the bank is encoded when it is first needed
        session.wait_for_files()
        moves.clear()
        used, began = processor_s(), time.monotonic()
        session.RE(scan(projections))
        measured = time.monotonic()
        session.wait_for_files()
        wall_s, files_s, used_s = measured - began, time.monotonic() - measured, processor_s() - used
        frames = len(session.beamline.twin.world.exposures["orca"]["start_ns"])
        need_s = hardware_s(session.beamline.twin.world, moves)
        return {
            "projections": projections, "frames": frames, "wall_s": wall_s, "hardware_s": need_s,
            "files_s": files_s, "overhead_s": wall_s - need_s, "cpu_ms_per_frame": 1000 * used_s / frames,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projections", nargs="*", type=int, default=[])
    chosen = parser.parse_args(sys.argv[1:]).projections or list(SIZES)
    heads = ("projections", "pixels", "wall/s", "hardware/s", "files/s", "overhead/s", "CPU ms/frame")
    print("{:>11} {:>10} {:>8} {:>11} {:>8} {:>11} {:>13}".format(*heads))
    for number in chosen:
        width, height = SIZES[number]
        found = measure(number, width, height)
        print(
            f"{number:>11} {f'{width}x{height}':>10} {found['wall_s']:>8.2f} {found['hardware_s']:>11.2f} "
            f"{found['files_s']:>8.2f} {found['overhead_s']:>11.2f} {found['cpu_ms_per_frame']:>13.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
