"""What Tango and PVAccess add to each phase of a tomography: the same scan in process and over real servers.

A phase lasts from the declaration of its stream to that of the next, so it holds exposures, motion and everything that
is asked of the devices. Real clock in both cases, medians of several scans.

Run it as `python benchmarks/bench_network.py [scans]`.
"""

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danmax_bluesky.config import Settings, load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.testing.servers import ServerProcess

OPTIONS: dict[str, Any] = {
    "detectors.orca.width": 256,
    "detectors.orca.height": 64,
    "detectors.pilatus.active": False,
    "formats.integrate": False,
    "catalog.kind": "off",
    "twin.frame_bank": 32,
}
FIELDS, STEPS, EXPOSURE_S = 20, 360, 0.005


def phases(settings: Settings, scans: int) -> dict[str, float]:
    """Phase -> median seconds."""
    found: dict[str, list[float]] = {}
    with make_session(settings) as session:
        marks: list[tuple[str, float]] = []

        def note(name: str, doc: Mapping[str, Any]) -> None:
            if name in ("descriptor", "stop") and doc.get("name") != "baseline":
                marks.append((str(doc.get("name", "end")), float(doc["time"])))

        session.RE.subscribe(note)
        for scan in range(scans + 1):
            marks.clear()
            session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, STEPS, EXPOSURE_S, npt_fields=FIELDS))
            if scan:  # the first one warms up
                for (name, begin), (_, end) in itertools.pairwise(marks):
                    found.setdefault(name, []).append(end - begin)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    scans = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(dir=os.environ.get("DANMAX_BENCH_DIR")) as folder:
        near = phases(load_settings(options={**OPTIONS, "data_root": f"{folder}/near"}), scans)
        file = Path(folder) / "twin.toml"
        assignments = [word for key, value in OPTIONS.items() for word in ("--set", f"{key}={value}")]
        with ServerProcess(["twin", "--write-settings", str(file), *assignments]):
            far = phases(load_settings(file, {**OPTIONS, "data_root": f"{folder}/far"}), scans)
    print(f"{'phase':<12} {'in process/s':>13} {'network/s':>10} {'added/s':>8}")
    for name in near:
        print(f"{name:<12} {near[name]:>13.2f} {far[name]:>10.2f} {far[name] - near[name]:>8.2f}")
    total_near, total_far = sum(near.values()), sum(far.values())
    print(f"{'sum':<12} {total_near:>13.2f} {total_far:>10.2f} {total_far - total_near:>8.2f}")


if __name__ == "__main__":
    main()
