"""Flats of another exposure, written once more as if they had been exposed like a projection."""

import dataclasses

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest

from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.callbacks.nexus import write_master
from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.formats.scaled_flats import flat_scales
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.storage.frame_stack import FrameStack
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.storage.scaled_flats import with_scaled_flats
from danmax_bluesky.testing.compose import compose_tomography

EXPOSURE_S = 0.01


def measured(folder, flat_s, after_s=None):
    """A tomography whose flats were exposed otherwise than its projections, all else being as it is."""
    run = compose_tomography(folder, exposure_s=EXPOSURE_S)
    for segment in run.start["segments"]:
        if segment["kind"] == "flat":
            segment["exposure_s"] = after_s if after_s and segment["name"] == "flat_after" else flat_s
    return run, load_scalars(fold(run.documents))


def values(table, key):
    return FrameStack.of_table(table, table.of(key))[:].astype(float)


def scaled(record):
    table = frame_tables(record)["orca"]
    return table, with_scaled_flats(record, {"orca": table})["orca"]


@pytest.mark.parametrize("flat_s", [0.04, 0.001], ids=["longer", "shorter"])
def test_counts_above_the_dark_are_those_of_the_exposure_of_a_projection(tmp_path, flat_s):
    _, record = measured(tmp_path, flat_s)
    raw, table = scaled(record)
    factor = EXPOSURE_S / flat_s
    wanted = 100 + (values(raw, ImageKey.FLAT) - 100) * factor
    np.testing.assert_allclose(values(table, ImageKey.FLAT), wanted, rtol=1e-6)
    assert table.scale[table.of(ImageKey.FLAT)] == pytest.approx(factor)
    assert set(np.delete(table.scale, table.of(ImageKey.FLAT))) == {1.0}
    if flat_s < EXPOSURE_S:
        assert wanted.max() > np.iinfo(np.uint16).max  # which no integer of the detector's type holds
    for key in (ImageKey.PROJECTION, ImageKey.DARK, ImageKey.ALIGNMENT):
        np.testing.assert_array_equal(values(table, key), values(raw, key))
        assert table.dtype_of(table.of(key)) == "<u2"


def test_where_the_exposures_are_the_same_or_not_known_nothing_is_written(tmp_path):
    run, record = measured(tmp_path, EXPOSURE_S)
    raw, table = scaled(record)
    assert table is raw
    unknown = dataclasses.replace(raw, exposure_s=np.full(len(raw), np.nan))
    assert with_scaled_flats(record, {"orca": unknown})["orca"] is unknown
    zero = dataclasses.replace(raw, exposure_s=np.where(raw.image_key == ImageKey.FLAT, 0.0, 0.01))
    assert set(flat_scales(zero)) == {1.0}
    assert not list(run.folder.glob("*flats*"))


def test_each_flat_has_the_factor_of_its_own_exposure_and_others_stay_links(tmp_path):
    _, record = measured(tmp_path, EXPOSURE_S, after_s=0.02)
    raw, table = scaled(record)
    assert table.scale[table.of(ImageKey.FLAT)].tolist() == [1.0] * 4 + [0.5] * 4
    before, after = np.split(values(table, ImageKey.FLAT), 2)
    np.testing.assert_array_equal(before, values(raw, ImageKey.FLAT)[:4])
    np.testing.assert_allclose(after, 100 + (values(raw, ImageKey.FLAT)[4:] - 100) / 2, rtol=1e-6)
    assert [len(piece.rows) for piece in FrameStack.of_table(table, table.of(ImageKey.FLAT)).pieces] == [4, 4]


def test_the_dark_of_the_moment_is_taken_away(tmp_path):
    run, _ = measured(tmp_path, 0.02)
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        file["entry/instrument/orca/data"][-4:] = 300  # the darks after are brighter by 200
    raw, table = scaled(load_scalars(fold(run.documents)))
    dark, flat = raw.of(ImageKey.DARK), raw.of(ImageKey.FLAT)
    moments = [raw.middle_s[part].mean() for part in np.split(dark, 2)]
    below = np.interp(raw.middle_s[flat], moments, [100.0, 300.0])[:, None, None]
    assert below.max() - below.min() > 100
    wanted = below + (values(raw, ImageKey.FLAT) - below) / 2
    np.testing.assert_allclose(values(table, ImageKey.FLAT), wanted, rtol=1e-6)


def test_the_file_is_written_once_and_anew_only_for_other_flats(tmp_path):
    run, record = measured(tmp_path, 0.02)
    scaled(record)
    (path,) = run.folder.glob("*_flats_orca.h5")
    first = path.stat().st_ino
    scaled(record)
    assert path.stat().st_ino == first
    scaled(measured(tmp_path / "other", 0.04)[1])
    for segment in run.start["segments"]:
        segment["exposure_s"] = 0.04 if segment["kind"] == "flat" else EXPOSURE_S
    _, table = scaled(load_scalars(fold(run.documents)))
    assert path.stat().st_ino != first
    assert table.scale.min() == pytest.approx(0.25)
    with h5py.File(path) as file:
        assert file["entry/instrument/orca/scale"][()] == pytest.approx(0.25)


def test_where_another_file_is_in_the_way_the_master_says_so_and_dxchange_is_not_written(tmp_path):
    run, record = measured(tmp_path, 0.02)
    in_the_way = run.folder / "scan-0001_flats_orca.h5"
    with h5py.File(in_the_way, "w") as file:
        file["mine"] = 1
    with pytest.raises(FormatError, match=r"not scaled.*scan-0001_flats_orca.h5 was not written by this program"):
        write_master(fold(run.documents))
    with pytest.raises(StorageError, match="was not written by this program"):
        write_dxchange(fold(run.documents))
    scan = open_scan(run.folder / "scan-0001.h5")
    np.testing.assert_array_equal(scan.flats.values, values(frame_tables(record)["orca"], ImageKey.FLAT))
    assert scan.flats["count_time"].values == pytest.approx(0.02)
    assert not (run.folder / "scan-0001_dxchange.h5").exists()
    rows = read_table(run.folder / "scan-0001.h5")
    assert [(row["actor"], row["status"]) for row in rows] == [("master", "FAILED"), ("dxchange", "FAILED")]
    with h5py.File(in_the_way) as file:
        assert list(file) == ["mine"]


def test_damaged_scaled_flats_are_found_and_never_read_as_values(tmp_path):
    run, record = measured(tmp_path, 0.02)
    master = write_master(record)
    assert check_file(master) == []
    (run.folder / "scan-0001_flats_orca.h5").rename(run.folder / "elsewhere.h5")
    assert any("scan-0001_flats_orca.h5" in finding.text for finding in check_file(master))
    scan = open_scan(master)
    assert any("scan-0001_flats_orca.h5" in text for text in scan.missing)
    with pytest.raises(StorageError, match="scan-0001_flats_orca"):
        scan.flats.values  # noqa: B018
