import numpy as np
import pytest

from danmax_bluesky.callbacks.provenance import begin_acquisition, end_acquisition
from danmax_bluesky.runs.frame_table import AngleFlag, ImageKey
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import fold
from danmax_bluesky.runs.trigger_angles import far_from_plan
from danmax_bluesky.storage.provenance import Provenance
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.compose import Part, compose_tomography, tomography_parts


def tables_of(run):
    return frame_tables(load_scalars(fold(run.documents)))


def test_every_frame_has_its_key_and_its_angle(tmp_path):
    run = compose_tomography(tmp_path)
    table = tables_of(run)["orca"]
    expected = [2] * 4 + [1] * 4 + [0] * 31 + [-1] * 2 + [1] * 4 + [2] * 4
    assert table.image_key_control.tolist() == expected
    assert table.image_key.tolist() == [max(key, 0) for key in expected]
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    assert table.has_rotation
    assert table.lost == {}
    assert table.exposure_s.tolist() == [0.01] * 49


def test_the_frame_in_which_the_register_wraps_is_flagged_and_right(tmp_path):
    run = compose_tomography(
        tmp_path, [Part("proj", "projection", np.linspace(129.0, 131.0, 21).tolist())], gate_deg=0.08
    )
    table = tables_of(run)["orca"]
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    flagged = np.flatnonzero(table.angle_flag == AngleFlag.WRAPPED)
    assert len(flagged) == 1
    assert abs(table.angle_deg[flagged[0]] - 130.0) < 0.05


@pytest.mark.parametrize("lost", [[0], [30], [7, 8, 9]])
def test_a_lost_frame_is_named_and_shifts_no_angle(tmp_path, lost):
    parts = [
        Part(part.name, part.kind, part.angles_deg, lost if part.kind == "projection" else ())
        for part in tomography_parts()
    ]
    run = compose_tomography(tmp_path, parts)
    table = tables_of(run)["orca"]
    assert table.lost == {"proj": tuple(lost)}
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    assert len(table.of(ImageKey.PROJECTION)) == 31 - len(lost)
    assert table.uncertain == {}


def test_without_a_frame_counter_only_the_number_of_lost_frames_is_claimed(tmp_path):
    parts = [
        Part(part.name, part.kind, part.angles_deg, [3] if part.kind == "projection" else ())
        for part in tomography_parts()
    ]
    table = tables_of(compose_tomography(tmp_path, parts, counts_frames=False))["orca"]
    assert table.lost == {}
    assert "wrote 30 frames for 31 triggers" in table.uncertain["proj"]
    projections = table.of(ImageKey.PROJECTION)
    assert np.all(table.angle_flag[projections] & AngleFlag.UNCERTAIN)
    assert not np.any(table.angle_flag[table.of(ImageKey.FLAT)])


def test_a_run_that_was_cut_short_calls_no_frame_lost(tmp_path):
    parts = tomography_parts()
    parts[2] = Part("proj", "projection", parts[2].angles_deg, lost=[4], taken=10)
    run = compose_tomography(tmp_path, parts, exit_status="abort")
    table = tables_of(run)["orca"]
    assert table.lost == {"proj": (4,)}
    assert len(table.of(ImageKey.PROJECTION)) == 9
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)


def slipping(tmp_path, motion, slip):
    """A run whose rotation did not go where the start document says."""
    run = compose_tomography(tmp_path)
    for entry in run.start["segments"]:
        entry["motion"] = {"proj": motion, "ortho": "step"}.get(entry["name"], "rest")
        if entry["name"] == "proj":
            entry["angles_deg"] = [slip(angle) for angle in entry["angles_deg"]]
    return load_scalars(fold(run.documents))


@pytest.mark.parametrize("motion", ["sweep", "list", "step"])
def test_angles_far_from_the_plan_are_flagged_and_told_of_once_a_segment(tmp_path, motion, caplog):
    record = slipping(tmp_path, motion, lambda angle: angle * 1.05)  # by more than half a step from 66 degrees on
    table = frame_tables(record)["orca"]
    far = (table.angle_flag & AngleFlag.DEVIATES) > 0
    assert np.flatnonzero(far).tolist() == list(range(8 + 11, 8 + 31))
    (told,) = far_from_plan(record)
    assert told.startswith("proj: 20 angles lie more than 3.15 degrees from the plan, from exposure 12 on")
    end_acquisition(record, begin_acquisition(record))
    assert caplog.text.count(told) == 1
    assert told in Provenance(record.files).actions()[0].message


def test_frames_on_the_way_back_are_held_against_the_steps_of_the_scan(tmp_path):
    record = slipping(tmp_path, "sweep", lambda angle: angle)
    record.start["segments"][3]["angles_deg"][0] += 4.0
    table = frame_tables(record)["orca"]
    assert np.flatnonzero(table.angle_flag & AngleFlag.DEVIATES).tolist() == [39]


@pytest.mark.parametrize(("motion", "slip"), [("free", 1.05), ("rest", 1.05), ("sweep", 1.0), ("step", 1.001)])
def test_angles_near_the_plan_or_without_one_are_not_flagged(tmp_path, motion, slip):
    record = slipping(tmp_path, motion, lambda angle: angle * slip)
    assert not np.any(frame_tables(record)["orca"].angle_flag & AngleFlag.DEVIATES)
    assert far_from_plan(record) == []


def test_without_the_panda_the_planned_angles_are_used_and_flagged(tmp_path):
    run = compose_tomography(tmp_path)
    (run.folder / "scan-0001_panda.h5").unlink()
    table = tables_of(run)["orca"]
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    assert np.all(table.angle_flag == AngleFlag.PLANNED)


def test_frames_that_are_not_in_the_file_are_left_out(tmp_path):
    import h5py

    run = compose_tomography(tmp_path)
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        file["entry/instrument/orca/data"].resize(20, axis=0)
    table = tables_of(run)["orca"]
    assert len(table) == 20
    (run.folder / "scan-0001_orca.h5").unlink()
    assert len(tables_of(run)["orca"]) == 0


def test_consecutive_rows_are_joined():
    from dataclasses import replace
    from pathlib import Path

    from danmax_bluesky.runs.frame_table import FrameTable

    nothing = np.zeros(5)
    table = FrameTable(
        "orca", (Path("a.h5"),), ("/d",), (9,), (2, 2), "<u2", np.zeros(5, int), np.array([0, 1, 2, 5, 6]), ("p",),
        nothing, nothing, nothing, nothing, nothing, nothing, nothing,
    )  # fmt: skip
    assert table.runs(np.arange(5)) == [(0, 0, 3), (0, 5, 7)]
    assert table.runs(np.array([], int)) == []
    two = replace(table, file_index=np.array([0, 0, 1, 1, 1]), row=np.arange(5))
    assert two.runs(np.arange(5)) == [(0, 0, 2), (1, 2, 5)]
