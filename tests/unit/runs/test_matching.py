from dataclasses import replace

import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.provenance_writer import begin_acquisition, end_acquisition
from danmax_bluesky.runs.frame_table import AngleFlag, ImageKey
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import fold
from danmax_bluesky.runs.trigger_angles import far_from_plan
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.compose import Part, compose_tomography, tomography_parts
from danmax_bluesky.testing.compose_files import COUNTS_PER_DEG


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
    (run.folder / "scan-0001_panda.hdf5").unlink()
    table = tables_of(run)["orca"]
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    assert np.all(table.angle_flag == AngleFlag.PLANNED)


def spoil(run, **rows):
    """Change what the PandA captured: column -> {row: change of its counts}."""
    with h5py.File(run.folder / "scan-0001_panda.hdf5", "r+") as file:
        for name, changes in rows.items():
            for row, change in changes.items():
                file[name][row] += change
    return run


def test_an_angle_that_was_not_captured_or_cannot_be_true_is_estimated_flagged_and_told_of(tmp_path):
    run = compose_tomography(tmp_path)
    for entry in run.start["segments"]:
        entry["motion"] = {"proj": "sweep", "ortho": "step"}.get(entry["name"], "rest")
    spoil(run, tom_ry_end={8 + 4: np.nan, 8 + 20: -7 * COUNTS_PER_DEG})
    table = tables_of(run)["orca"]
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    estimated = AngleFlag.RECONSTRUCTED
    assert table.angle_flag[[12, 28]].tolist() == [estimated, estimated | AngleFlag.DEVIATES]
    assert len(table.of(ImageKey.PROJECTION)) == 31
    assert table.angle_remarks == ("2 of 31 projections have an angle that is estimated from those of their neighbours")
    record = load_scalars(fold(run.documents))
    end_acquisition(record, begin_acquisition(record))
    message = Provenance(record.files).actions()[0].message
    assert "proj: 1 angles, the first at exposure 5, were not captured; the files hold estimates" in message
    assert "proj: 1 angles, the first at exposure 21, cannot be true" in message
    assert "from the plan" not in message


def test_a_projection_whose_angle_nobody_knows_is_invalid_and_a_dark_is_not(tmp_path):
    run = compose_tomography(tmp_path)
    for entry in run.start["segments"]:
        del entry["angles_deg"]
    spoil(run, tom_ry_end={2: np.nan, 8 + 4: np.nan, 39: np.nan})
    table = tables_of(run)["orca"]
    assert np.flatnonzero(np.isnan(table.angle_deg)).tolist() == [2, 12, 39]
    assert table.image_key_control[[2, 12, 39]].tolist() == [ImageKey.DARK, ImageKey.INVALID, ImageKey.INVALID]
    assert len(table.of(ImageKey.PROJECTION)) == 30
    assert np.all(np.isfinite(table.angle_deg[table.image_key == ImageKey.PROJECTION]))
    assert table.angle_remarks == "2 frames are left out: their angle is not known (image key 3)"


def test_an_encoder_that_told_nothing_leaves_the_planned_angles(tmp_path):
    run = compose_tomography(tmp_path)
    spoil(run, tom_ry_end=dict.fromkeys(range(49), np.nan))
    table = tables_of(run)["orca"]
    np.testing.assert_allclose(table.angle_deg, run.angles_deg["orca"], atol=1e-6)
    assert np.all(table.angle_flag == AngleFlag.PLANNED)


def test_some_frames_of_a_table_keep_all_that_is_known_of_them(tmp_path):
    table = tables_of(compose_tomography(tmp_path))["orca"]
    chosen = np.array([0, 9, 20, 40])
    part = table.only(chosen)
    for name in ("row", "index", "trigger", "angle_deg", "segment", "time_s", "exposure_s"):
        np.testing.assert_array_equal(getattr(part, name), getattr(table, name)[chosen])
    assert {name: len(values) for name, values in part.columns.items()} == dict.fromkeys(table.columns, 4)


def monitored(run, motion, moments):
    """The run with a motor that goes with the rotation in `proj`: moments are (seconds since the start, mm)."""
    documents = list(run.documents)
    run.start["flown"] = {"tom_sam_y": "mm"}
    for entry in run.start["segments"]:
        if entry["name"] == "proj":
            entry |= {"motion": motion, "travels": [{"motor": "tom_sam_y", "start_mm": 0.0, "end_mm": 3.0}]}
    stream = {
        "uid": "moments", "run_start": run.start["uid"], "name": "tom_sam_y_monitor", "time": run.start["time"],
        "data_keys": {"tom_sam_y": {"source": "motor", "dtype": "number", "shape": [], "units": "mm"}},
        "object_keys": {"tom_sam_y": ["tom_sam_y"]}, "configuration": {}, "hints": {},
    }  # fmt: skip
    events = [
        {
            "uid": f"moment {number}", "descriptor": "moments", "seq_num": number, "time": 0.0,
            "data": {"tom_sam_y": at_mm}, "timestamps": {"tom_sam_y": run.start["time"] + after_s},
        }
        for number, (after_s, at_mm) in enumerate(moments, 1)
    ]  # fmt: skip
    inserted = [("descriptor", stream), *(("event", event) for event in events)]
    return replace(run, documents=[*documents[:-1], *inserted, documents[-1]])


def test_a_motor_that_goes_with_a_sweep_is_on_the_line_between_its_moments_and_rests_elsewhere(tmp_path):
    run = compose_tomography(tmp_path)  # a trigger every 0.02 s, exposed for 0.01 s; the projections are 8 to 38
    moving = monitored(run, "sweep", [(0.0, 0.0), (0.14, 0.0), (0.64, 2.5), (0.74, 3.0)])
    table = tables_of(moving)["orca"]
    heights = table.columns["tom_sam_y"]
    middle_s = table.middle_s - run.start["time"]
    assert table.units["tom_sam_y"] == "mm"
    assert np.isnan(heights[0])  # exposed before the motor was first heard of
    assert heights[1:8].tolist() == [0.0] * 7
    np.testing.assert_allclose(heights[8:37], (middle_s[8:37] - 0.14) * 5, atol=1e-6)
    assert np.isnan(heights[38])  # after its last moment nobody knows where a motor is that flies by
    assert heights[39:].tolist() == [3.0] * 10  # at rest again


def test_a_motor_that_goes_in_steps_stays_where_it_arrived(tmp_path):
    run = compose_tomography(tmp_path)
    moments = [(0.0, 0.0), (0.15, 0.0), (0.355, 1.0), (0.36, 1.0), (0.755, 3.0)]
    heights = tables_of(monitored(run, "step", moments))["orca"].columns["tom_sam_y"]
    assert set(heights[8:18]) == {0.0}
    assert set(heights[19:38]) == {1.0}
    assert set(heights[39:]) == {3.0}


def test_frames_that_are_not_in_the_file_are_left_out(tmp_path):
    run = compose_tomography(tmp_path)
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        file["entry/instrument/orca/data"].resize(20, axis=0)
    table = tables_of(run)["orca"]
    assert len(table) == 20
    (run.folder / "scan-0001_orca.h5").unlink()
    assert len(tables_of(run)["orca"]) == 0


def test_consecutive_rows_are_joined():
    from pathlib import Path

    from danmax_bluesky.runs.frame_table import FrameTable

    nothing = np.zeros(5)
    table = FrameTable(
        "orca", (Path("a.h5"),), ("/d",), (9,), (2, 2), "<u2", np.zeros(5, int), np.array([0, 1, 2, 5, 6]), ("p",),
        nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing,
    )  # fmt: skip
    assert table.runs(np.arange(5)) == [(0, 0, 3), (0, 5, 7)]
    assert table.runs(np.array([], int)) == []
    two = replace(table, file_index=np.array([0, 0, 1, 1, 1]), row=np.arange(5))
    assert two.runs(np.arange(5)) == [(0, 0, 2), (1, 2, 5)]
