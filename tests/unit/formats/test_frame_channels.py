"""The arrays of motors and channels as values: no file is written here."""

from dataclasses import replace

import numpy as np
import pytest

from danmax_bluesky.formats.frame_channels import frame_channels
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import Snapshot

START = {
    "uid": "u", "time": 100.0, "motors": ["x"], "rotation": {"motor": "tom_ry"},
    "channels": {"i0": "albaem-xrd_ch2", "diode": "albaem-xrd_ch2", "hdcm_energy": "hdcm_E", "elapsed": "pcap_trigts"},
    "detector_settings": {"orca": {"kind": "imaging"}, "pilatus": {"kind": "counting"}},
}  # fmt: skip


def table(detector="pilatus", rows=(0, 1, 2), index=None, length=3, has_rotation=False, **columns) -> FrameTable:
    n = len(rows)
    return FrameTable(
        detector=detector,
        files=(),
        datasets=(),
        lengths=(length,),
        frame_shape=(4, 6),
        dtype="<u2",
        file_index=np.zeros(n, int),
        row=np.array(rows),
        segment_names=("primary",),
        segment=np.zeros(n, int),
        image_key_control=np.zeros(n, int),
        angle_deg=np.full(n, np.nan),
        angle_flag=np.zeros(n, int),
        trigger=np.arange(n),
        index=np.array(rows if index is None else index),
        time_s=100.0 + np.array(rows, float),
        exposure_s=np.full(n, 0.1),
        columns={name: np.array(values, float) for name, values in columns.items()},
        units={"x": "mm", "i0": "A"},
        has_rotation=has_rotation,
    )


def channels(*tables, snapshots=(), **changes):
    record = RunRecord({**START, **changes}, snapshots=tuple(snapshots))
    return frame_channels(record, {one.detector: one for one in tables})


def snapshots(*values):
    return [Snapshot(100.0 + n, {"hdcm_energy": value}, {"hdcm_energy": "eV"}) for n, value in enumerate(values)]


def values_of(found, path):
    group, name = path.split("/")
    return found.groups[group].children[name].value.tolist()


def test_a_motor_and_a_channel_have_a_row_for_each_frame_with_units_and_the_detector_they_belong_to():
    found = channels(table(x=[1, 2, 3], i0=[7, 8, 9]))
    assert values_of(found, "x/value") == [1, 2, 3]
    assert found.groups["x"].children["value"].attrs == {"units": "mm", "detector": "pilatus"}
    assert values_of(found, "albaem-xrd_ch2/data") == [7, 8, 9]
    assert found.groups["albaem-xrd_ch2"].children["data"].attrs["source"] == "i0"
    assert values_of(found, "pcap_trigts/data") == [0, 1, 2]


def test_rows_of_the_file_that_no_document_tells_of_are_not_known():
    found = channels(table(rows=(0, 2), length=5, x=[1, 3]))
    np.testing.assert_array_equal(values_of(found, "x/value"), [1, np.nan, 3, np.nan, np.nan])


def test_the_first_source_that_was_recorded_counts():
    assert values_of(channels(table(diode=[4, 5, 6], i0=[np.nan] * 3)), "albaem-xrd_ch2/data") == [4, 5, 6]
    assert values_of(channels(table(diode=[4, 5, 6], i0=[7, 8, 9])), "albaem-xrd_ch2/data") == [7, 8, 9]


def test_a_channel_that_begins_late_keeps_what_it_has():
    found = channels(table(i0=[np.nan, 8, 9]))
    np.testing.assert_array_equal(values_of(found, "albaem-xrd_ch2/data"), [np.nan, 8, 9])


def test_what_has_no_name_in_the_mapping_keeps_its_own_but_for_counts_of_the_encoder():
    found = channels(table(furnace=[20, 30, 40], tom_ry_mean=[1, 2, 3]))
    assert values_of(found, "furnace/data") == [20, 30, 40]
    assert "tom_ry_mean" not in found.groups


def test_a_channel_that_nobody_recorded_is_told_with_what_the_settings_take_it_from():
    found = channels(table())
    assert "albaem-xrd_ch2" not in found.groups
    assert found.remarks == (
        "albaem-xrd_ch2: nothing was recorded for it; the settings take it from i0, diode",
        "hdcm_E: nothing was recorded for it; the settings take it from hdcm_energy",
    )


def test_a_value_of_the_snapshot_that_did_not_change_holds_for_each_frame():
    found = channels(table(i0=[1, 2, 3]), snapshots=snapshots(35000.0, 35000.1))
    assert values_of(found, "hdcm_E/data") == [35000.0] * 3
    assert found.groups["hdcm_E"].children["data"].attrs["units"] == "eV"
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("told", "text"),
    [((35000.0, 36000.0), "was 35000 at first and 36000 at the end"), ((35000.0,), "was told once")],
)
def test_a_value_of_the_snapshot_that_changed_is_not_known(told, text):
    found = channels(table(i0=[1, 2, 3]), snapshots=snapshots(*told))
    assert np.isnan(values_of(found, "hdcm_E/data")).all()
    assert text in found.remarks[0]


def test_a_value_of_the_snapshot_that_could_not_be_read_is_no_channel():
    assert "hdcm_E" not in channels(table(), snapshots=snapshots(np.nan, np.nan)).groups


def test_a_channel_cannot_take_the_place_of_a_detector_or_a_motor():
    found = channels(table(x=[1, 2, 3], i0=[7, 8, 9]), channels={"i0": "x"})
    assert values_of(found, "x/value") == [1, 2, 3]
    assert found.remarks == ("x: is a detector or a scanned motor of this run, so no channel can be called so",)


def test_a_temperature_that_is_scanned_is_a_motor_and_a_channel():
    found = channels(table(x=[1, 2, 3]), channels={"x": "x"})
    assert values_of(found, "x/value") == values_of(found, "x/data") == [1, 2, 3]
    found = channels(table(x=[1, 2, 3]), channels={"x": "cryo_temp"})
    assert values_of(found, "x/value") == values_of(found, "cryo_temp/data") == [1, 2, 3]
    assert found.remarks == ()


def test_detectors_with_other_rows_are_named_and_equal_ones_are_not():
    first = table(x=[1, 2, 3])
    assert channels(first, table("orca", x=[1, 2, 3])).remarks[2:] == ()
    for other in (table("orca", rows=(0, 1), length=2), table("orca", index=(0, 1, 3))):
        found = channels(other, first)
        assert values_of(found, "x/value") == [1, 2, 3]
        assert f"the arrays have the 3 rows of pilatus, not those of orca ({other.lengths[0]})" in found.remarks[0]


def test_the_rows_of_a_tomography_are_those_of_its_camera():
    turning = replace(table("orca", has_rotation=True), angle_deg=np.array([0.0, 90.0, 180.0]))
    found = channels(table("pilatus", rows=(0,), length=1, has_rotation=True), turning)
    assert values_of(found, "tom_ry/value") == [0, 90, 180]


def test_a_run_without_frames_has_no_arrays():
    assert channels().groups == {}
