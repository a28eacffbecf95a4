"""What is wrong is named, and the rest is integrated."""

import json
from pathlib import Path

import fabio.tifimage
import h5py
import hdf5plugin
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.powder import SMALL, ring_frames, small_poni

SHAPE = SMALL
PONI = small_poni(rot1=0.0)
FRAMES = 20
LAYOUTS = {
    "bitshuffle-lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "checksums": {"fletcher32": True},
    "gzip and checksums": {"fletcher32": True, "compression": "gzip"},
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cal.poni").write_text(PONI)
    return tmp_path


def write(path: Path, frames, **layout) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("entry/data", data=frames, chunks=(1, *frames.shape[1:]), **layout)
    return path


def damage(path: Path, frame: int) -> None:
    """A few bytes in the middle of one frame are not what was written."""
    with h5py.File(path) as file:
        place = file["entry/data"].id.get_chunk_info(frame)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + place.size // 2)
        before = raw.read(12)
        raw.seek(place.byte_offset + place.size // 2)
        raw.write(bytes(byte ^ 0x5A for byte in before))


def danmax(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["azint", *map(str, arguments)])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_a_frame_that_fails_its_checksum_is_named_and_the_rest_is_integrated(folder, layout, where):
    frames = ring_frames(SHAPE, FRAMES)
    whole = integrate_scan(write(folder / "whole.h5", frames), {"poni": str(folder / "cal.poni"), "radial_bins": 60})
    path = write(folder / "frames.h5", frames, **LAYOUTS[layout])
    damage(path, 7)
    damage(path, 12)
    if where == "cluster":
        distributed = pytest.importorskip("distributed")
        with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
            report = integrate_scan(path, {"poni": str(folder / "cal.poni"), "radial_bins": 60}, client=client)
        assert sorted(report.errors) == [7, 12]
    else:
        code, text = danmax(path, "--poni", folder / "cal.poni", "--bins", 60)
        assert code == 1, text
        assert "2 of 20 frames could not be read" in text
        assert "frames.h5::/entry/data: frame 7 cannot be read" in text
        assert "frame 12 cannot be read" in text
    found, expected = read_patterns(output_path(path)), read_patterns(whole.output)
    good = np.ones(FRAMES, bool)
    good[[7, 12]] = False
    assert np.array_equal(found.columns["valid"] == 1, good)
    assert np.isnan(found.intensity[~good]).all()
    assert np.isnan(found.sigma[~good]).all()
    assert np.array_equal(found.intensity[good], expected.intensity[good], equal_nan=True)
    assert np.array_equal(found.sigma[good], expected.sigma[good], equal_nan=True)


def test_a_damaged_image_of_a_series_is_named_and_the_others_are_integrated(folder):
    frames = ring_frames(SHAPE, 4)
    images = folder / "images"
    images.mkdir()
    for row, frame in enumerate(frames):
        fabio.tifimage.TifImage(data=frame).write(str(images / f"a_{row:04d}.tif"))
    torn = (images / "a_0002.tif").read_bytes()
    (images / "a_0002.tif").write_bytes(torn[: len(torn) // 3])
    (images / "a_0003.tif").write_bytes(b"")
    report = integrate_scan(sorted(images.iterdir()), {"poni": str(folder / "cal.poni"), "radial_bins": 60})
    assert sorted(report.errors) == [2, 3]
    assert "a_0002.tif cannot be read as an image" in report.errors[2]
    found = read_patterns(report.output)
    assert np.isfinite(found.intensity[:2]).any(axis=1).all()
    assert np.isnan(found.intensity[2:]).all()


def _truncate(path):
    with path.open("r+b") as raw:
        raw.truncate(path.stat().st_size * 2 // 3)


BAD_FILES = {
    "truncated": (_truncate, "truncated"),
    "empty": (lambda path: path.write_bytes(b""), "bad.h5"),
    "text": (lambda path: path.write_text("no HDF5\n" * 99), "bad.h5"),
    "other shape": (lambda path: write(path, ring_frames((50, 60), 3)), "(50, 60)"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_is_named_and_the_others_are_integrated(folder, kind):
    good = [write(folder / f"{name}.h5", ring_frames(SHAPE, 3)) for name in ("a", "c")]
    bad = write(folder / "bad.h5", ring_frames(SHAPE, 3))
    spoil, said = BAD_FILES[kind]
    spoil(bad)
    code, text = danmax(folder, "--poni", folder / "cal.poni", "--bins", 60)
    assert code != 0
    assert "bad.h5 failed" in text
    assert said in text
    assert "1 of the integrations failed" in text
    assert not output_path(bad).exists()
    assert [len(read_patterns(output_path(path)).index) for path in good] == [3, 3]


def test_what_holds_no_frames_is_left_aside(folder):
    """Other HDF5 files, and the images that the recipe itself names, are no frames."""
    write(folder / "frames.h5", ring_frames(SHAPE, 3))
    with h5py.File(folder / "motors.h5", "w") as file:
        file["entry/positions"] = np.arange(9.0)
    fabio.tifimage.TifImage(data=np.zeros(SHAPE, np.int32)).write(str(folder / "mask.tif"))
    code, text = danmax(folder, "--poni", folder / "cal.poni", "--mask", folder / "mask.tif", "--bins", 60)
    assert code == 0, text
    assert [file.name for file in folder.glob("*_integrated.h5")] == ["frames_integrated.h5"]
    code, text = danmax(folder / "motors.h5", "--poni", folder / "cal.poni")
    assert code != 0
    assert "holds no frames" in text


def _npy(array):
    return lambda path: np.save(path, array)


BAD_RECIPES = {
    "poni for another shape": (
        "poni",
        lambda path: path.write_text(PONI.replace("[97, 83]", "[1043, 981]")),
        "is for images of shape (1043, 981)",
    ),
    "NaN geometry": ("poni", lambda path: path.write_text(PONI.replace("0.0079", "nan")), "poni2 = nan is no number"),
    "no geometry": ("poni", lambda path: path.write_text("hello"), ".poni"),
    "mask of another shape": (
        "mask",
        _npy(np.zeros((83, 97), bool)),
        "has shape (83, 97), but the frames have (97, 83)",
    ),
    "mask without pixels": ("mask", _npy(np.zeros((0, 0), bool)), "has shape (0, 0), but the frames have (97, 83)"),
    "empty mask": ("mask", lambda path: path.write_bytes(b""), "cannot be read as an image"),
    "mask that leaves nothing": ("mask", _npy(np.ones(SHAPE, bool)), "leaves no pixel"),
    "mask of a stack": ("mask", _npy(np.zeros((2, *SHAPE), bool)), "not that of an image"),
    "flat of zeros": ("flat", _npy(np.zeros(SHAPE)), "is nowhere greater than 0"),
    "dark of another shape": ("dark", _npy(np.zeros((3, 3))), "dark"),
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_a_recipe_that_cannot_be_is_refused_and_another_one_is_integrated(folder, kind):
    key, spoil, said = BAD_RECIPES[kind]
    path = write(folder / "frames.h5", ring_frames(SHAPE, 3))
    bad = folder / f"bad.{'poni' if key == 'poni' else 'npy'}"
    spoil(bad)
    good = {"poni": str(folder / "cal.poni"), "radial_bins": 60}
    recipes = [{**good, "name": "bad", key: str(bad)}, good]
    (folder / "recipes.json").write_text(json.dumps({"recipes": recipes}))
    code, text = danmax(path, "--config", folder / "recipes.json")
    assert code != 0
    assert said in text
    assert bad.name in text
    assert not output_path(path, "bad").exists()
    assert len(read_patterns(output_path(path)).index) == 3


def test_a_damaged_file_of_patterns_is_named_and_not_replaced(folder):
    path = write(folder / "frames.h5", ring_frames(SHAPE, 3))
    arguments = [path, "--poni", folder / "cal.poni", "--bins", 60]
    assert danmax(*arguments)[0] == 0
    _truncate(output_path(path))
    for again in ([], ["--again"]):
        code, text = danmax(*arguments, *again)
        assert code != 0
        assert "frames_integrated.h5 is truncated" in text
        assert "delete it, and integrate again" in text
    output_path(path).unlink()
    assert danmax(*arguments)[0] == 0


def test_a_damaged_journal_is_named_and_other_scans_are_integrated(folder):
    write(folder / "scan-0001_pilatus.h5", ring_frames(SHAPE, 3))
    write(folder / "scan-0002_pilatus.h5", ring_frames(SHAPE, 3))
    (folder / "scan-0001_documents.jsonl").write_text("[\nnothing\n[]\n")
    code, text = danmax(folder, "--poni", folder / "cal.poni", "--bins", 60)
    assert code != 0
    assert "scan-0001_pilatus.h5 failed" in text
    assert "scan-0001_documents.jsonl, line 1 is damaged" in text
    assert len(read_patterns(output_path(folder / "scan-0002_pilatus.h5")).index) == 3
