"""Plans of a session in blueapi's context: registered, with a model of their parameters, and run by its tasks."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from danmax_bluesky import open_scan
from danmax_bluesky.plans.user import plan_names

LIMIT_S = 240.0

PROGRAM = """
import json
from blueapi.core import BlueskyContext
from blueapi.worker import Task
from danmax_bluesky import make_session
from danmax_bluesky.plans.user import plan_names

session = make_session()
context = BlueskyContext(run_engine=session.RE)
for name in plan_names():
    context.register_plan(getattr(session.plans, name))
fast = {"fast": "tom_sam_x", "fast_start": -0.1, "fast_end": 0.1, "fast_intervals": 3}
grid = {**fast, "slow": "tom_sam_y", "slow_start": 0.0, "slow_end": 0.1, "slow_intervals": 1, "exp_time": 0.02}
angles = {"rot_mot": "tom_ry", "scan_start": 0, "scan_end": 180, "nsteps": 20, "exp_time": 0.02}
for name, parameters in (
    ("ct", {"exp_time": 0.02}),
    ("meshct", grid),
    ("azint_count", {"num": 3, "exp_time": 0.02}),
    ("tomo_scan", {"scan_type": "ascanct", **angles, "npt_fields": 2, "sample": "bone", "md": {"batch": "A7"}}),
):
    Task(name=name, params=parameters).do_task(context)
session.close()
print(json.dumps(sorted(context.plans)))
"""


@pytest.mark.skipif(importlib.util.find_spec("blueapi") is None, reason="blueapi is not installed")
def test_blueapi_registers_every_plan_and_its_tasks_measure_what_a_session_measures(tmp_path):
    """In a process of its own, since blueapi brings telemetry along that stays in the process."""
    environment = {**os.environ, "DANMAX_DATA_ROOT": str(tmp_path), "DANMAX_TWIN__CLOCK": "fast"}
    words = [sys.executable, "-c", PROGRAM]
    asked = subprocess.run(
        words, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment, cwd=tmp_path
    )
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout.splitlines()[-1]) == sorted(plan_names())
    masters = sorted(tmp_path.rglob("raw/*/scan-????.h5"))
    scans = [open_scan(master) for master in masters]
    assert [scan.start["plan_name"] for scan in scans] == ["ct", "meshct", "azint_count", "tomo_scan"]
    assert all(scan.status == "complete" for scan in scans)
    assert (scans[-1].start["sample"]["name"], scans[-1].start["batch"]) == ("bone", "A7")
