"""What would go wrong is told before anything moves: all of it at once; and how long a scan will take."""

import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.errors import AcquisitionError, PreflightError
from danmax_bluesky.plans.segment import sequencer_table
from danmax_bluesky.testing.scanning import measured
from danmax_bluesky.tomography import preflight, scan_plan

DANMAX = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()"]


@pytest.fixture(scope="module")
def session(session_of):
    return session_of(motors__tom_ry__high_limit=200.0)


def test_everything_wrong_is_told_at_once_before_anything_moves(session, monkeypatch):
    told, commands = [], []
    monkeypatch.setattr(VisitPaths, "free_bytes", lambda _self: 1000)
    monkeypatch.setattr(session.plans, "tell", told.append)
    before = session.paths.visit.next_number()
    session.RE.msg_hook = lambda msg: commands.append(msg.command)
    plan = session.plans.tomo_scan(
        "ascanct", "tom_ry", 0, 199.5, 36, 0.005, latency=0.005, tomo_det=("orca", "kodak"), posflat="nowhere"
    )
    try:
        with pytest.raises(PreflightError) as refused:
            session.RE(plan)
    finally:
        session.RE.msg_hook = None
    reasons = "\n".join(refused.value.args[0] if isinstance(refused.value.args[0], tuple) else [str(refused.value)])
    for thing in ("kodak", "nowhere", "tom_ry: would go to", "disk: all frames"):
        assert thing in reasons
    assert "the edge of the field moves" in told[-1]
    assert set(commands) <= {"read", "locate", "null"}
    assert session.paths.visit.next_number() == before
    assert not list(session.paths.visit.raw.iterdir())


def test_a_run_up_beyond_the_limit_is_told_with_the_way_out(session):
    with pytest.raises(PreflightError, match=r"run-up and run-down included, and its limit is 200; change"):
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 199.9, 100, 0.01, fields_flag="000000"))


def test_a_dry_run_moves_nothing_and_takes_no_number(session, monkeypatch):
    told, commands = [], []
    monkeypatch.setattr(session.plans, "tell", told.append)
    before = session.paths.visit.next_number()
    session.RE.msg_hook = lambda msg: commands.append(msg.command)
    try:
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 100, 0.01, dry_run=True, fields_flag="111111"))
    finally:
        session.RE.msg_hook = None
    assert "open_run" not in commands
    assert "set" not in commands
    assert session.paths.visit.next_number() == before
    for phase in ("dark", "flat", "proj", "ortho", "flat_after", "dark_after"):
        assert phase in told[-1]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"scan_type": "ascan", "nsteps": 4, "exp_time": 4.0, "npt_fields": 2},
        {"condition": 0.0, "flat_angle_deg": 90.0},
    ],
    ids=["continuous", "step", "flat_angle"],
)
def test_the_predicted_time_is_what_the_beamline_needs(sessions, parameters):
    session = sessions(motors__tom_ry__velocity=30.0, motors__tom_sam_x__velocity=5.0)
    reports = []
    session.plans.tell = reports.append
    given = {
        "scan_type": "ascanct", "rot_mot": "tom_ry", "scan_start": 0, "scan_end": 180, "nsteps": 120, "exp_time": 0.1,
        "npt_fields": 20, "fields_flag": "111111", **parameters,
    }  # fmt: skip
    world = session.beamline.twin.world
    began = world.clock.now_ns()
    saturated = given["exp_time"] > 1  # so that orthogonal frames cannot be compared
    failed = pytest.raises(AcquisitionError, match="the drift of the sample is not known")
    with failed if saturated else nullcontext():
        measured(session, session.plans.tomo_scan(**given))
    took_s = (world.clock.now_ns() - began) / 1e9
    predicted_s = float(reports[-1].split("about ")[1].split(" s")[0])
    assert predicted_s == pytest.approx(took_s, rel=0.2)


def test_a_dry_run_from_the_shell_prints_the_phases_and_the_time(tmp_path):
    command = [*DANMAX, "tomoscan", "ascanct", "tom_ry", "0", "180", "1800", "0.01", "--npt-fields", "20"]
    command += ["--condition", "1", "--fields-flag", "111111", "--sample", "bone", "--dry-run"]
    command += ["--data-root", str(tmp_path), "--set", "twin.clock=fast", "--set", "catalog.kind=off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "dry run: nothing was moved" in done.stdout
    assert "1883 frames at each detector" in done.stdout
    for phase in ("dark", "flat", "proj", "ortho", "flat_after", "dark_after"):
        assert phase in done.stdout
    assert not list(tmp_path.rglob("*.h5"))


def test_a_scan_is_planned_once_and_measured_as_it_was_judged(sessions, monkeypatch):
    session = sessions()
    calls = SimpleNamespace(phases=0, rows=0, plans=[], sent=[])
    plan_phases, gate_rows, judge = preflight.plan_phases, scan_plan.gate_rows, preflight.predicted_time_s

    def count_phases(*args):
        calls.phases += 1
        return plan_phases(*args)

    def count_rows(*args, **kwargs):
        calls.rows += 1
        return gate_rows(*args, **kwargs)

    def note_plan(scan, planned, facts):
        calls.plans.append(planned)
        return judge(scan, planned, facts)

    monkeypatch.setattr(preflight, "plan_phases", count_phases)
    monkeypatch.setattr(scan_plan, "gate_rows", count_rows)
    monkeypatch.setattr(preflight, "predicted_time_s", note_plan)

    def note_table(message):
        if message.command == "prepare" and message.obj is session.rig.sequencer:
            calls.sent.append(message.args[0].sequence_table)

    session.RE.msg_hook = note_table
    try:
        run = measured(
            session,
            session.plans.tomo_scan(
                "ascanct", "tom_ry", 0, 90, 45, 0.005, npt_fields=2, helical="tom_sam_y:0.5", fields_flag="110101"
            ),
        )
    finally:
        session.RE.msg_hook = None
    (judged,) = calls.plans
    assert (calls.phases, calls.rows) == (1, len(judged))
    rig = session.rig.with_detectors(("orca",))
    assert [table.model_dump() for table in calls.sent] == [
        sequencer_table(rig, planned.rows).model_dump() for planned in judged
    ]
    assert [segment.name for segment in run.record.segments] == [planned.name for planned in judged]


def test_the_shell_takes_every_parameter_of_a_scan(tmp_path):
    """As the prompt does: those of the angles, the fields, and the translations too."""
    command = [*DANMAX, "tomoscan", "ascanct", "tom_ry", "0", "180", "60", "0.01", "--npt-fields", "3"]
    command += ["--angles", "golden", "--turns", "2", "--flats-every", "70", "--no-get-ortho", "--flat-angle-deg", "90"]
    command += ["--helical", "tom_sam_y:0.5", "--places", "tom_sam_x:0:0.5:2", "--dry-run"]
    command += ["--data-root", str(tmp_path), "--set", "twin.clock=fast", "--set", "catalog.kind=off"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "fields_flag 110111" in done.stdout
    assert "flat_001" in done.stdout
    assert "list 0 to" in done.stdout
    wrong = subprocess.run(
        [*command, "--helical", "tom_sam_y"], capture_output=True, text=True, timeout=120, check=False
    )
    assert wrong.returncode == 1
    assert "give 2 values with colons between them, motor:pitch_mm" in wrong.stderr
