"""A session that is killed at ANY message of a plan: no frame is lost, and the next session says what stands where.

A kill ends the session alone. The twin's motors live in it, but real ones do not: their controllers go on with what
they were told, so the next session begins with the motors where they came to rest. The cameras are processes of their
own, which write what was triggered, notice that nobody talks to them any more, and end.

`make campaign` kills at every message of every plan; the other runs kill at some.
"""

import os
import re
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest

from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.config import load_settings
from danmax_bluesky.errors import PreflightError
from danmax_bluesky.session import Session, make_session
from danmax_bluesky.storage.check import Severity, check_file
from danmax_bluesky.storage.files import first_unwritten, open_to_read
from danmax_bluesky.storage.references import references
from danmax_bluesky.testing.cut_short import MIDDLE_NS, PLANS, SLOW, Killed, Moment, at_first, kill, messages, tomo
from danmax_bluesky.testing.scanning import measured
from danmax_bluesky.testing.waiting import eventually, has_ended

from .conftest import SMALL

RETURNED = ("tom_ry", "tom_sam_x", "tom_sam_y")
EVERY = int(os.environ.get("CAMPAIGN_EVERY", "1"))
"""The campaign kills at every so manieth message."""


@pytest.fixture(scope="module")
def commands(session_of) -> dict[str, list[str]]:
    """What each plan does, in words."""
    session = session_of(**{key.replace(".", "__"): value for key, value in SLOW.items()})
    return {kind: messages(session, kind) for kind in PLANS}


def options_of(root: Path) -> dict[str, Any]:
    return {**SMALL, **SLOW, "data_root": str(root)}


def try_one(root: Path, kind: str, at: Moment, later_ns: int) -> Killed | None:
    """One session that is killed, and what has to hold afterwards."""
    killed = kill(kind, options_of(root), root.with_name(f"{root.name}.json"), at, later_ns)
    if killed is None:
        return None
    eventually(lambda: all(map(has_ended, killed.cameras)))
    for journal in root.rglob("scan-*_documents.jsonl"):
        every_frame_is_in_the_files(journal)
    positions = {f"motors.{name}.position": position for name, position in killed.positions.items()}
    with make_session(load_settings(options={**options_of(root), **positions})) as session:
        what_is_away_is_said_and_brought_back(session, killed)
        next_scan_is_right(session)
    return killed


def every_frame_is_in_the_files(journal: Path) -> None:
    rebuilt = rebuild(journal, integrate=False)
    assert rebuilt.problems == ()
    master = rebuilt.record.files.master
    assert [finding for finding in check_file(master) if finding.severity == Severity.ERROR] == []
    for name in rebuilt.record.start["detectors"]:
        path = rebuilt.record.files.detector(name)
        frames = written(path, name)
        images = [segment.images[name] for segment in rebuilt.record.segments if name in segment.images]
        assert sum(map(len, images)) == len(frames), (journal, name)
        for source in images:
            with h5py.File(source.file) as file:
                data: Any = file[source.dataset]
                np.testing.assert_array_equal(data[source.start : source.stop], frames[source.start : source.stop])
        with h5py.File(master) as file:
            files = {source.file for source in images}
            rows = [found.rows for found in references(file) if found.file in files and found.rows is not None]
            assert f"entry_{name}" not in file or set(np.concatenate(rows)) == set(range(len(frames)))


def written(path: Path, name: str) -> np.ndarray:
    """Every frame that a detector's file holds, whoever left it open."""
    if not path.exists():
        return np.empty((0, 1, 1))
    with open_to_read(path) as file:
        data = file[f"entry/instrument/{name}/data"]
        gap = first_unwritten(data)
        return data[: data.shape[0] if gap is None else gap]


def what_is_away_is_said_and_brought_back(session: Session, killed: Killed) -> None:
    away = {name for name in RETURNED if abs(killed.positions[name]) > session.beamline.motors[name].tolerance}
    assert away <= set(session.rig.homes.away)
    said = session.left_behind()
    assert len(said) == len(away), said
    if not away:
        return
    with pytest.raises(PreflightError) as refused:
        session.RE(tomo(session))
    for name in sorted(away):
        stands = f"{name} stands at {killed.positions[name]:.6g}, and stood at 0 before"
        assert sum(stands in text for text in said) == 1
        assert stands in str(refused.value)
        typed = re.search(rf"%mv {name} (\S+) brings it back", str(refused.value))
        assert typed
        session.RE(bps.mv(session.beamline.motors[name], float(typed[1])))
    assert session.left_behind() == []


def next_scan_is_right(session: Session) -> None:
    scan = measured(session, tomo(session, fields_flag="000001"))
    assert scan.record.is_complete
    assert scan.true("proj", "x_mm") == pytest.approx([0.0] * 5, abs=2e-3)
    assert scan.true("proj") == pytest.approx(scan.angles_deg("proj"), abs=1e-2)


OUT = ("set tom_sam_x", "wait", "set fast_shutter")
BACK = ("stop tom_sam_x", "locate tom_sam_x", "set tom_sam_x", "wait")
CASES = [
    ("tomography", ("prepare orca",), 1, 0),
    ("tomography", OUT, 1, MIDDLE_NS),
    ("tomography", BACK, 3, MIDDLE_NS),
    ("tomography", ("kickoff tom_ry",), 3, MIDDLE_NS),
    ("helix", ("kickoff tom_sam_y",), 0, MIDDLE_NS),
    ("mosaic", ("set fast_shutter", "wait", "set tom_sam_y", "wait", "set tom_sam_x"), 4, MIDDLE_NS),
    ("sweep", ("complete pilatus",), 4, MIDDLE_NS),
    ("mesh", ("trigger pilatus",), 1, 0),
]


@pytest.mark.parametrize(("kind", "row", "after", "later_ns"), CASES, ids=lambda value: str(value)[:40])
def test_a_session_that_is_killed_loses_no_frame_and_the_next_one_says_what_stands_where(
    tmp_path, commands, kind, row, after, later_ns
):
    killed = try_one(tmp_path / "data", kind, at_first(commands[kind], *row, after=after), later_ns)
    assert killed is not None


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.campaign
@pytest.mark.timeout(4 * 3600)
def test_no_kill_loses_a_frame_or_hides_where_the_sample_is(tmp_path, commands, kind, record_property):
    trials, failed = 0, []
    for later_ns in (0, MIDDLE_NS):
        for at in range(len(commands[kind]) % EVERY if later_ns else 0, len(commands[kind]), EVERY):
            trials += 1
            try:
                try_one(tmp_path / str(trials), kind, Moment(after=at), later_ns)
            except Exception as error:
                told = f"{at} ({commands[kind][at]}) + {later_ns / 1e6:g} ms: {type(error).__name__} {error}"
                failed.append(told[:600])
    record_property("trials", trials)
    assert failed == [], "\n".join([f"{len(failed)} of {trials}", *failed[:20]])


def test_a_motor_that_is_away_is_known_after_newvisit_and_in_every_visit_below_the_data_root(session_of):
    session = session_of()
    session.newvisit("2026112108")
    session.rig.homes.depart([("tom_sam_x", 0.0)])
    other = session_of(data_root=str(session.settings.data_root), visit="2026112109")
    assert other.rig.homes.away == {"tom_sam_x": 0.0}
    session.rig.homes.arrived([("tom_sam_x", 0.0)])
