import json
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.dxchange import DXchangeWriter, write_dxchange
from danmax_bluesky.callbacks.nexus import NexusMaster
from danmax_bluesky.callbacks.provenance_writer import ProvenanceRecorder
from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.formats.dxchange import Export
from danmax_bluesky.formats.dxchange_configuration import configuration_of, load_configuration
from danmax_bluesky.formats.tree import Copying
from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.testing.compose import Part, compose_tomography, tomography_parts
from danmax_bluesky.testing.compose_files import COUNTS_PER_DEG


def replay(run, *consumers):
    for name, doc in run.documents:
        for consumer in consumers:
            consumer(name, doc)


def frames_of(run, kind, parts=None):
    kinds = np.array([part.kind for part in parts or tomography_parts() for _ in part.angles_deg])
    return run.frames["orca"][kinds == kind]


def only(**entries):
    return configuration_of(
        {"entries": {path.replace("__", "/"): entry for path, entry in entries.items()}}, "mine.json"
    )


def exported(run, configuration, **options):
    write_dxchange(fold(run.documents), configuration, **options)
    return h5py.File(run.folder / "scan-0001_dxchange.h5")


def test_the_exchange_group_holds_frames_and_angles_of_each_kind(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, DXchangeWriter())
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        exchange = file["exchange"]
        np.testing.assert_array_equal(exchange["data"][:], frames_of(run, "projection"))
        np.testing.assert_array_equal(exchange["data_white"][:], frames_of(run, "flat"))
        np.testing.assert_array_equal(exchange["data_dark"][:], frames_of(run, "dark"))
        np.testing.assert_array_equal(file["exchange_1/data"][:], frames_of(run, "alignment"))
        np.testing.assert_allclose(exchange["theta"][:], np.linspace(0, 180, 31), atol=1e-6)
        np.testing.assert_allclose(file["exchange_1/theta"][:], [90.0, 0.0], atol=1e-6)
        assert len(exchange["theta_white"]) == len(exchange["theta_dark"]) == 8
        assert exchange["data"].attrs["axes"] == "theta:y:x"
        assert exchange["data"].dims[0][0].name == "/exchange/theta"
        assert exchange["data_white"].dims[0][0].name == "/exchange/theta_white"


def test_the_file_has_the_whole_tree(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, ProvenanceRecorder(), DXchangeWriter())
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["implements"].asstr()[()] == "exchange:exchange_1:measurement:process"
        assert file["instrument/detector/actual_pixel_size_x"][()] == pytest.approx(1.1)
        assert file["instrument/detector/actual_pixel_size_x"].attrs["units"] == "um"
        assert file["measurement/instrument/monochromator/energy"][()] == 20.0
        assert file["measurement/instrument/source/current"][()] == 400.0
        assert file["measurement/instrument/source/current_end"][()] == 398.5
        assert file["measurement/instrument/sample_motor_stack/setup/tom_sam_x"].attrs["units"] == "mm"
        assert file["measurement/sample/experimenter/name"].asstr()[()] == "A. Person"
        acquisition = file["process/acquisition"]
        assert acquisition["rotation/rotation_start"].shape == (1,)
        assert acquisition["rotation/num_angles"][:].tolist() == [31]
        assert acquisition["flat_fields/flat_field_mode"].asstr()[()] == "Both"
        assert acquisition["status"].asstr()[()] == "SUCCESS"
        for path in ("process/table", "process/process_table", "provenance/table"):
            assert [row["actor"] for row in file[path][:]] == [b"acquisition", b"dxchange"]


def test_every_number_has_units(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, DXchangeWriter())
    lacking = []

    def check(name, node):
        own = name.startswith(("exchange", "measurement", "process/acquisition")) and "detector/frames" not in name
        if isinstance(node, h5py.Dataset) and own and node.dtype.kind in "iuf" and "units" not in node.attrs:
            lacking.append(name)

    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        file.visititems(check)
    assert lacking == []


def test_a_lost_frame_is_left_out_and_named(tmp_path):
    parts = tomography_parts()
    parts[2] = replace(parts[2], lost=[5])
    run = compose_tomography(tmp_path, parts)
    replay(run, DXchangeWriter())
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["exchange/data"].shape[0] == 30
        assert 30.0 not in np.round(file["exchange/theta"][:], 6)
        assert file["process/acquisition/lost_triggers"].asstr()[()] == "proj: 5"


def test_an_aborted_scan_gets_its_file_which_says_so(tmp_path):
    parts = tomography_parts()
    parts[2] = replace(parts[2], taken=10)
    run = compose_tomography(tmp_path, parts, exit_status="abort", reason="beam lost")
    replay(run, ProvenanceRecorder(), DXchangeWriter())
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["exchange/data"].shape[0] == 10
        assert file["process/acquisition/run_status"].asstr()[()] == "aborted"
        assert "exchange_1" not in file
        assert "data_dark" in file["exchange"]
    row = read_table(run.folder / "scan-0001_dxchange.h5")[0]
    assert row["status"] == "FAILED"
    assert "beam lost" in row["message"]


def test_two_cameras_have_a_file_each(tmp_path):
    run = compose_tomography(tmp_path, detectors=("orca", "andor"))
    replay(run, DXchangeWriter())
    for name in ("orca", "andor"):
        with h5py.File(run.folder / f"scan-0001_{name}_dxchange.h5") as file:
            assert file["measurement/instrument/detector/name"].asstr()[()] == name
            np.testing.assert_array_equal(file["exchange/data"][:], run.frames[name][8:39])


@pytest.mark.parametrize("order", ["theta:y:x", "y:theta:x"])
def test_a_copy_travels_alone(tmp_path, order):
    run = compose_tomography(tmp_path)
    alone = tmp_path / "alone.h5"
    export = Export(copying=Copying(order=order, compression="gzip"))
    write_dxchange(fold(run.documents), export=export, out=alone)
    for path in run.folder.glob("*"):
        path.unlink()
    with h5py.File(alone) as file:
        data = file["exchange/data"]
        found = data[:] if order == "theta:y:x" else data[:].swapaxes(0, 1)
        np.testing.assert_array_equal(found, frames_of(run, "projection"))
        assert data.attrs["axes"] == order
        assert data.compression == "gzip"
        assert [data.dims[axis][0].name.rsplit("/")[-1] for axis in range(3)] == order.split(":")
        assert "frames" not in file["measurement/instrument/detector"]


def test_several_turns_become_volumes(tmp_path):
    parts = [
        Part("dark", "dark", [0.0] * 3),
        Part("flat", "flat", [0.0] * 3),
        Part("proj", "projection", np.linspace(0.0, 720.0, 41).tolist()),
        Part("ortho", "alignment", [450.0, 90.0]),
    ]
    run = compose_tomography(tmp_path, parts, frame_shape=(16, 16))
    with exported(run, None, export=Export(volume_deg=360.0)) as file:
        assert file["implements"].asstr()[()] == "exchange:exchange_1:exchange_2:exchange_3:measurement:process"
        assert np.all(np.isfinite(file["exchange_3/data_shift_x"][:]))
        assert (file["exchange_1/data"].shape[0], file["exchange_2/data"].shape[0]) == (20, 21)
        np.testing.assert_array_equal(file["exchange_2/data"][:], run.frames["orca"][26:47])
        np.testing.assert_allclose(file["exchange_2/theta"][[0, -1]], [360.0, 720.0], atol=1e-6)
        assert file["exchange_2/data_white"].shape[0] == 3
        assert file["exchange_3/title"].asstr()[()].startswith("orthogonal")
        assert file["exchange"].name == "/exchange"
        assert file["exchange/data"].shape[0] == 20
    with exported(run, None, export=Export(volume_deg=360.0, volume=2)) as file:
        assert file["exchange/data"].shape[0] == 21
    with pytest.raises(FormatError, match="volume 3: the run has volumes 1 to 2"):
        exported(run, None, export=Export(volume_deg=360.0, volume=3))


def three_turns(tmp_path, row, change):
    """Three turns of 217 projections; what the PandA captured at the end of one exposure is changed by counts."""
    parts = [Part("flat", "flat", [0.0] * 3), Part("proj", "projection", np.linspace(0.0, 1080.0, 217).tolist())]
    run = compose_tomography(tmp_path, parts, frame_shape=(8, 8))
    run.start["segments"][1]["motion"] = "sweep"
    with h5py.File(run.folder / "scan-0001_panda.hdf5", "r+") as file:
        file["tom_ry_end"][3 + row] += change
    return run


@pytest.mark.parametrize("row", [0, 72, 100, 216])
@pytest.mark.parametrize("change", [np.nan, -7 * COUNTS_PER_DEG])
def test_one_unknown_or_wrong_angle_costs_no_projection_of_a_volume(tmp_path, row, change):
    run = three_turns(tmp_path, row, change)
    with exported(run, None, export=Export(volume_deg=360.0)) as file:
        thetas = [file[f"exchange_{number}/theta"][:] for number in (1, 2, 3)]
        flags = np.concatenate([file[f"exchange_{number}/theta_flag"][:] for number in (1, 2, 3)])
        assert "exchange_4" not in file
        remarks = [file[f"exchange_{number}"].get("theta_remarks") for number in (1, 2, 3)]
        told_by = [number for number, remark in enumerate(remarks) if remark is not None]
    assert [len(theta) for theta in thetas] == [72, 72, 73]
    np.testing.assert_allclose(np.concatenate(thetas), np.linspace(0, 1080, 217), atol=1e-6)
    assert np.flatnonzero(flags & AngleFlag.RECONSTRUCTED).tolist() == [row]
    told = read_table(run.folder / "scan-0001_dxchange.h5")[0]["message"]
    assert told == "1 of 217 projections have an angle that is estimated from those of their neighbours"
    assert told_by == [min(row // 72, 2)]


def test_the_step_of_the_rotation_counts_frames_that_are_missing(tmp_path):
    parts = tomography_parts()
    parts[2] = replace(parts[2], lost=[5, 29, 30])
    with exported(compose_tomography(tmp_path, parts), None) as file:
        rotation = file["process/acquisition/rotation"]
        assert rotation["rotation_step"][0] == pytest.approx(6.0)
        assert rotation["rotation_end"][0] == pytest.approx(168.0)
        assert "theta_remarks" not in file["exchange"]
        assert "rotation_speed" not in rotation


def test_the_speed_of_the_rotation_is_the_measured_one(tmp_path):
    run = compose_tomography(tmp_path)
    run.start["segments"][2] |= {"motion": "sweep", "speed_deg_s": 290.0}
    with exported(run, None) as file:
        assert file["process/acquisition/rotation/rotation_speed"][0] == pytest.approx(300.0)  # 6 degrees in 0.02 s


def test_unequal_steps_are_no_step(tmp_path):
    angles = np.cumsum(np.random.default_rng(3).uniform(1, 10, 31))
    parts = [Part("proj", "projection", angles.tolist())]
    with exported(compose_tomography(tmp_path, parts), None) as file:
        assert "rotation_step" not in file["process/acquisition/rotation"]


def test_the_four_kinds_of_entry(tmp_path):
    run = compose_tomography(tmp_path)
    with h5py.File(run.folder / "extra.h5", "w") as file:
        file["stack"] = np.arange(120.0).reshape(10, 3, 4)
        file["stack"].attrs["units"] = "V"
        file["one"] = 7
    configuration = only(
        __exchange__data={
            "kind": "h5 link",
            "path": "x",
            "frames": "projection",
            "slice": "2:10:2, 1:5, :",
            "axes": "theta:y:x",
        },
        __link__whole={"kind": "h5 link", "file": "extra.h5", "path": "/stack"},
        __link__part={"kind": "h5 link", "file": "extra.h5", "path": "/stack", "slice": "2:8:3"},
        __link__same={"kind": "h5 link", "path": "/link/part"},
        __copy__part={
            "kind": "h5 copy",
            "file": "extra.h5",
            "path": "/stack",
            "slice": "0:4, ::2, 1",
            "description": "mine",
        },
        __copy__one={"kind": "h5 copy", "file": "extra.h5", "path": "/one", "units": "A"},
        __tango__current={"kind": "tango", "device": "ring_current", "at": "end", "units": "mA"},
        __value__text={"kind": "value", "value": "${sample.name} at ${source.energy_kev} keV"},
        __value__number={"kind": "value", "value": "${source.energy_kev}", "units": "keV"},
        __value__list={"kind": "value", "value": [1, 2, 3], "units": "1"},
    )
    with exported(run, configuration) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], frames_of(run, "projection")[2:10:2, 1:5])
        assert file["link/whole"].shape == (10, 3, 4)
        assert file["link"].get("whole", getlink=True).filename == "extra.h5"
        assert file["link/part"][:, 0, 0].tolist() == [24.0, 60.0]
        assert file["link/part"].attrs["units"] == "V"
        assert file["link/same"].shape == (2, 3, 4)
        np.testing.assert_array_equal(file["copy/part"][:], np.arange(120.0).reshape(10, 3, 4)[0:4, ::2, 1:2])
        assert dict(file["copy/part"].attrs) == {"units": "V", "description": "mine"}
        assert file["copy/one"][()] == 7
        assert file["tango/current"][()] == 398.5
        assert file["value/text"].asstr()[()] == "bone at 20.0 keV"
        assert file["value/number"][()] == 20.0
        assert file["value/list"][:].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "h5 link", "file": "gone.h5", "path": "/x"}, r"entry /a: gone\.h5::/x: .*gone\.h5 does not exist"),
        ({"kind": "h5 link", "file": "scan-0001_orca.h5", "path": "/entry/x"}, "/entry holds instrument"),
        ({"kind": "h5 copy", "file": "scan-0001_orca.h5", "path": "/entry"}, "is a group, which holds instrument"),
        (
            {"kind": "h5 link", "file": "scan-0001_orca.h5", "path": "/entry/instrument/orca/data", "slice": ":,:,:,:"},
            r"shape \(49, 12, 16\); the slice has 4",
        ),
        ({"kind": "tango", "device": "nothing"}, "entry /a: no 'nothing' in the snapshot .*ring_current"),
        ({"kind": "value", "value": "${sample.colour}"}, "no 'colour' in sample, which has: description, name"),
    ],
)
def test_an_entry_that_stands_for_nothing_is_named_and_costs_nothing_else(tmp_path, entry, said):
    run = compose_tomography(tmp_path)
    data = {"kind": "h5 link", "path": "x", "frames": "projection"}
    configuration = configuration_of({"entries": {"/exchange/data": data, "/a": entry}}, "mine.json")
    with pytest.raises(FormatError, match=said):
        write_dxchange(fold(run.documents), configuration)
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["exchange/data"].shape == (31, 12, 16)
        assert "a" not in file
    optional = configuration_of({"entries": {"/exchange/data": data, "/a": {**entry, "optional": True}}}, "mine.json")
    write_dxchange(fold(run.documents), optional)
    incomplete, complete = read_table(run.folder / "scan-0001_dxchange.h5")
    assert (incomplete["status"], complete["status"]) == ("FAILED", "SUCCESS")
    assert re.search(said, incomplete["message"])


def test_an_incomplete_file_of_one_detector_costs_no_other(tmp_path):
    run = compose_tomography(tmp_path, detectors=("orca", "andor"))
    data = {"kind": "h5 link", "path": "x", "frames": "projection"}
    entries = {"/exchange/data": data, "/a": {"kind": "value", "value": "${sample.colour}"}}
    with pytest.raises(FormatError, match=r"orca_dxchange\.h5 lacks 1 entries.*andor_dxchange\.h5 lacks 1 entries"):
        write_dxchange(fold(run.documents), configuration_of({"entries": entries}, "mine.json"))
    assert [row["status"] for row in read_table(run.folder / "scan-0001_andor_dxchange.h5")] == ["FAILED", "FAILED"]


def test_a_wrong_configuration_is_refused_before_anything_is_measured(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"entries": {"/a": {"kind": "?"}}}))
    with pytest.raises(FormatError, match=r"mine\.json: entry /a: kind '\?'"):
        DXchangeWriter(path)


def test_a_detector_without_projections_is_refused_by_name(tmp_path):
    run = compose_tomography(tmp_path)
    with pytest.raises(FormatError, match=r"pilatus: the run has no projections of this detector.*: orca"):
        write_dxchange(fold(run.documents), detectors=["pilatus"])


def test_another_runs_file_is_not_replaced_and_the_failure_is_a_row(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, ProvenanceRecorder(), NexusMaster())
    with h5py.File(run.folder / "scan-0001_dxchange.h5", "w") as file:
        file["mine"] = 1
    with pytest.raises(StorageError, match="was not written by this program"):
        write_dxchange(fold(run.documents))
    (run.folder / "scan-0001_dxchange.h5").unlink()
    write_dxchange(fold(run.documents))
    rows = read_table(run.folder / "scan-0001_dxchange.h5")
    assert [(row["actor"], row["status"]) for row in rows] == [
        ("acquisition", "SUCCESS"),
        ("dxchange", "FAILED"),
        ("dxchange", "SUCCESS"),
    ]
    assert rows[2]["reference"] == "/process/dxchange_2"
    assert "was not written by this program" in rows[1]["message"]
    assert [row["status"] for row in read_table(run.folder / "scan-0001.h5")] == ["SUCCESS", "FAILED", "SUCCESS"]


def test_the_default_configuration_leaves_nothing_unresolved(tmp_path):
    run = compose_tomography(tmp_path)
    assert len(load_configuration().entries) > 100
    write_dxchange(fold(run.documents))
