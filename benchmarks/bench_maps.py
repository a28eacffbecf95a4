"""A map of 100 x 100 points at 100 Hz, rows flown (`meshct`) beside the same map in steps (`mesh`), on the twin.

The clock is the one on the wall, so dead times are those of this computer: between two rows lie the run-down and the
run-up of the fast motor, and what the session itself takes. Of the map in steps some rows are measured; all of them
take as much longer as there are more.

    python benchmarks/bench_maps.py [--points 100] [--rate 100] [--step-rows 2]
"""

import argparse
import tempfile

import numpy as np
from rich.console import Console
from rich.table import Table

from danmax_bluesky.config import load_settings
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.session import make_session
from danmax_bluesky.testing.scanning import Measured, measured

STEP_MM, READOUT_S = 0.01, 0.003
FAST, SLOW = "tom_sam_x", "tom_sam_y"


def figures(run: Measured, flown: bool) -> list[str]:
    """Time, rate, dead time, lost frames and positions of a map."""
    grid = Grid.of(run.record.start)
    assert grid is not None
    rows, columns = grid.shape
    true = run.truth["pilatus"]
    starts, ends = (np.asarray(true[name], np.int64) for name in ("start_ns", "end_ns"))
    gaps_s = (starts[1:] - ends[:-1]) * 1e-9
    between = np.arange(len(gaps_s)) % columns == columns - 1
    row_of = [grid.columns[::-1] if grid.is_backwards(row) else grid.columns for row in range(rows)]
    wrong = np.hypot(true["x_mm"] - np.concatenate(row_of), true["y_mm"] - np.repeat(grid.rows, columns))
    table = run.tables["pilatus"]
    noted = np.abs(table.columns[FAST] - true["x_mm"]) if len(table) == len(starts) else np.array([np.nan])
    periods_s = np.diff(starts)[~between] * 1e-9
    return [
        f"{rows} x {columns}",
        f"{(ends[-1] - starts[0]) * 1e-9:.1f}",
        f"{1 / np.median(periods_s):.2f}",
        f"{np.ptp(periods_s) * 1e9:.0f}" if flown else "",
        ", ".join(f"{1e3 * gap:.0f}" for gap in np.percentile(gaps_s[between], [50, 90, 100])) if rows > 1 else "",
        f"{rows * columns - len(table)}",
        f"{wrong.max() / STEP_MM:.4f}",
        f"{np.nanmax(noted) * 1e3:.3g}",
    ]


def main() -> None:
    """Measure both, and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--step-rows", type=int, default=2)
    given = parser.parse_args()
    exposure_s, far = 1 / given.rate - READOUT_S, STEP_MM * (given.points - 1)
    table = Table(title=f"{given.points} x {given.points} points, {1e3 * exposure_s:g} ms, steps of {STEP_MM:g} mm")
    columns = [
        "",
        "points",
        "time / s",
        "rate / Hz",
        "jitter / ns",
        "between rows / ms (median, 90 %, worst)",
        "frames lost",
    ]
    for name in (*columns, "worst place / step", "worst noted position / µm"):
        table.add_column(name)
    with tempfile.TemporaryDirectory() as root:
        options = {"data_root": root, "catalog.kind": "off", "formats.integrate": False, "formats.reconstruct": False}
        small = {"detectors.pilatus.width": 487, "detectors.pilatus.height": 407}
        with make_session(load_settings(options={**options, **small})) as session:
            acceleration_s = session.settings.motors[FAST].acceleration_time
            for name, plan, rows in (
                ("meshct", session.plans.meshct, given.points),
                ("mesh", session.plans.mesh, given.step_rows),
            ):
                run = measured(
                    session,
                    plan(
                        **{"fast": FAST, "fast_start": 0.0, "fast_end": far, "fast_intervals": given.points - 1},
                        **{"slow": SLOW, "slow_start": 0.0, "slow_end": STEP_MM * (rows - 1)},
                        **{"slow_intervals": rows - 1, "exp_time": exposure_s},
                    ),
                )
                table.add_row(name, *figures(run, flown=plan == session.plans.meshct))
    console = Console(width=150)
    console.print(table)
    console.print(
        f"Two acceleration times of {FAST} and 50 ms are {2e3 * acceleration_s + 50:.0f} ms. All {given.points} rows "
        f"in steps take {given.points / given.step_rows:g} times as long as the {given.step_rows} here."
    )


if __name__ == "__main__":
    main()
