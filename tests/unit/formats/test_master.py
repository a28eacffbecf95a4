"""The master as a value: no file is written here."""

from pathlib import Path

import numpy as np
import pytest

from danmax_bluesky.formats.dxchange import DatasetInfo
from danmax_bluesky.formats.master import master_tree
from danmax_bluesky.formats.nexus import fill_value, storable, udunits
from danmax_bluesky.formats.tree import ExternalLink, SoftLink, VirtualDataset
from danmax_bluesky.runs.frame_table import AngleFlag, FrameTable, ImageKey
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import FrameSource, Segment, Snapshot

FOLDER = Path("/data/p/v/raw/f")
START = {
    "uid": "u", "time": 1.7e9, "scan_id": 3, "data_root": "/data", "proposal": "p", "visit": "v", "folder": "f",
    "command": "tomoscan", "plan_name": "tomo_scan", "detectors": ["orca"], "sample": "bone", "users": ["A. Person"],
    "segments": [{"name": "proj", "kind": "projection", "num": 3, "exposure_s": 0.1}],
    "source": {"energy_kev": 20.0, "instrument": "DanMAX"},
    "detector_settings": {"orca": {"kind": "imaging", "pixel_size_m": 5.5e-6, "magnification": 5.0, "distance_m": 0.1}},
}  # fmt: skip


def table(keys=(0, 0, 0), rows=(0, 1, 2)) -> FrameTable:
    n = len(rows)
    return FrameTable(
        detector="orca",
        files=(FOLDER / "scan-0003_orca.h5",),
        datasets=("/entry/instrument/orca/data",),
        lengths=(n,),
        frame_shape=(4, 6),
        dtype="<u2",
        file_index=np.zeros(n, int),
        row=np.array(rows),
        segment_names=("proj",),
        segment=np.zeros(n, int),
        image_key_control=np.array(keys),
        angle_deg=np.linspace(0.0, 180.0, n),
        angle_flag=np.full(n, AngleFlag.MEASURED),
        trigger=np.arange(n),
        index=np.arange(n),
        time_s=np.full(n, np.nan),
        exposure_s=np.full(n, 0.1),
        has_rotation=True,
    )


def tree_of(frames: FrameTable, **changes):
    record = RunRecord(
        START, {"exit_status": "success", "time": 1.7e9 + 9}, (Segment("proj", "projection", 3),), **changes
    )
    return master_tree(record, {"orca": frames}, FOLDER / "scan-0003.h5", written_s=1.7e9)


def test_every_soft_link_leads_somewhere_and_its_target_says_so():
    tree = tree_of(table())
    links = [(path, node) for path, node in tree.walk() if isinstance(node, SoftLink)]
    assert links
    for _, link in links:
        assert tree[link.path].attrs["target"] == link.path


def test_frames_are_seen_through_relative_paths():
    tree = tree_of(table())
    views = [node for _, node in tree.walk() if isinstance(node, VirtualDataset)]
    assert len(views) == 2
    assert {source.file for view in views for source in view.sources} == {"scan-0003_orca.h5"}


def test_an_invalid_frame_is_in_the_stack_and_not_in_the_picture():
    tree = tree_of(table(keys=(0, 3, 0)))
    assert tree["entry_orca/instrument/detector/data"].shape == (3, 4, 6)
    assert tree["entry_orca/instrument/detector/image_key"].value.tolist() == [0, 3, 0]
    assert [(s.start, s.stop) for s in tree["entry/orca/data"].sources] == [(0, 1), (2, 3)]


def test_sample_and_users_may_be_told_as_plain_text():
    tree = tree_of(table())
    assert tree["entry/sample/name"].value == "bone"
    assert tree["entry/user_1/name"].value == "A. Person"


def test_every_length_and_energy_has_units():
    tree = tree_of(table())
    for path, units in {
        "entry_orca/instrument/detector/x_pixel_size": "m",
        "entry_orca/sample/x_pixel_size": "m",
        "entry_orca/sample/rotation_angle": "degree",
        "entry_orca/instrument/beam/incident_energy": "keV",
        "entry_beamline/instrument/monochromator/wavelength": "angstrom",
        "entry/measurement/proj/exposure": "s",
    }.items():
        assert tree[path].attrs["units"] == units
    assert tree["entry_beamline/instrument/monochromator/wavelength"].value == pytest.approx(0.61992, abs=1e-5)


def test_the_current_of_the_ring_is_the_one_that_was_read():
    assert np.isnan(tree_of(table())["entry_beamline/instrument/source/current"].value)
    snapshots = tuple(Snapshot(1.7e9, {"ring_current": value}, {"ring_current": "mA"}) for value in (251.5, 249.0))
    tree = tree_of(table(), snapshots=snapshots)
    assert tree["entry_beamline/instrument/source/current"].value == 251.5
    assert tree["entry_orca/instrument/source/current"].value == 251.5


def with_frames(configuration):
    source = FrameSource("orca", FOLDER / "scan-0003_orca.h5", "/entry/instrument/orca/data", 0, 3, (4, 6), "<u2")
    return RunRecord(
        START, None, (Segment("proj", "projection", 3, external={"orca": source}, configuration=configuration),)
    )


@pytest.mark.parametrize(("mode", "shown"), [("EXTERNAL_LEVEL", False), ("EXTERNAL_EDGE", True)])
def test_an_exposure_that_is_set_is_told_only_where_the_trigger_does_not_decide(mode, shown):
    record = with_frames({"orca": {"orca-exposure_time": 0.01, "orca-trigger_mode": mode}})
    tree = master_tree(record, {}, FOLDER / "scan-0003.h5", written_s=1.7e9)
    assert ("exposure_time" in tree["entry_beamline/instrument/configuration/orca"].children) == shown


@pytest.mark.parametrize("found", [DatasetInfo((4, 6), "<u4"), "there is no such dataset"])
def test_a_mask_beside_the_frames_is_linked(found):
    asked = []
    tree = master_tree(
        with_frames({}),
        {},
        FOLDER / "scan-0003.h5",
        written_s=1.7e9,
        look=lambda file, path: asked.append((file, path)) or found,
    )
    assert asked == [("scan-0003_orca.h5", "/entry/instrument/orca/pixel_mask")]
    link = tree["entry_beamline/instrument/orca"].children.get("pixel_mask")
    assert link == (ExternalLink(*asked[0]) if isinstance(found, DatasetInfo) else None)


def test_alignment_frames_are_projections_to_those_who_do_not_know_them():
    frames = table(keys=(0, 0, int(ImageKey.ALIGNMENT)))
    tree = tree_of(frames)
    assert tree["entry_orca/instrument/detector/image_key"].value.tolist() == [0, 0, 0]
    assert tree["entry_orca/instrument/detector/image_key_control"].value.tolist() == [0, 0, -1]


@pytest.mark.parametrize(("dtype", "value"), [("<u2", 65535), ("<u4", 65535), ("|u1", 255), ("<i4", -(2**31))])
def test_fill_values_stand_out(dtype, value):
    assert fill_value(dtype) == value


def test_units_are_spelled_as_udunits_does():
    assert [udunits(text) for text in ("deg", "°", "µm", "mm", "")] == ["degree", "degree", "um", "mm", ""]


def test_what_hdf5_cannot_hold_becomes_text():
    assert storable(None) == ""
    assert storable({"a": 1}) == "{'a': 1}"
    assert storable([1, 2]).tolist() == [1, 2]
    assert storable([[1], [2, 3]]) == "[[1], [2, 3]]"
