"""Masks, images and counts of any detector, through `danmax azint`: right, or one clear error."""

import os
import time

import fabio.edfimage
import fabio.tifimage
import h5py
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from danmax_bluesky.cli import cli

SHAPE = (128, 150)
PONI = """poni_version: 2
Detector: {detector}
Detector_config: {{"pixel1": 0.0001, "pixel2": 0.0001}}
Distance: 0.1
Poni1: 0.0060
Poni2: 0.0070
Rot1: 0.0
Rot2: 0.0
Rot3: 0.0
Wavelength: 4e-11
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cal.poni").write_text(PONI.format(detector="Detector"))
    return tmp_path


def frame(scale=1.0, seed=1):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(y - 60, x - 70)
    rings = sum(np.exp(-0.5 * ((radius - centre) / 1.5) ** 2) for centre in (20, 40, 55))
    return np.random.default_rng(seed).poisson(scale * (40 + 3000 * rings)).astype(np.int32)


def azint(folder, *arguments):
    """Status, text, and of each file of patterns I, state and number of masked pixels."""
    options = ("--poni", folder / "cal.poni", "--unit", "2th_deg", "--bins", "100", "--out", folder / "out")
    result = CliRunner().invoke(cli, ["azint", *map(str, (*arguments, *options))])
    found = {}
    for path in sorted((folder / "out").glob("*.h5")):
        with h5py.File(path) as file:
            found[path.name.removesuffix("_integrated.h5")] = (
                file["/entry/data/I"][()],
                int(file["/entry/integration_state"][()]),
                int(file["/entry/reduction/input/mask"][()].sum()),
            )
    return result.exit_code, result.output + str(result.exception or ""), found


def write(path, name, values):
    with h5py.File(path, "a") as file:
        file[name] = values
    return path


@pytest.mark.parametrize("place", ["beside, (H, W)", "beside, (1, H, W)", "in the master of an Eiger"])
def test_the_detectors_own_mask_counts_wherever_it_lies_and_is_told_of(folder, place):
    bad = np.zeros(SHAPE, np.uint32)
    bad[30:33, 100:140] = 16
    hot = np.where(bad > 0, 1_000_000, frame()).astype(np.uint32)
    if "Eiger" in place:
        write(folder / "s_data_000001.h5", "entry/data/data", hot[None])
        path = write(folder / "s_master.h5", "entry/instrument/detector/detectorSpecific/pixel_mask", bad)
        with h5py.File(path, "a") as file:
            file["entry/data/data_000001"] = h5py.ExternalLink("s_data_000001.h5", "/entry/data/data")
    else:
        path = write(folder / "f.h5", "entry/instrument/detector/data", hot[None])
        write(path, "entry/instrument/detector/pixel_mask", bad[None] if "1, H" in place else bad)
    status, text, found = azint(folder, folder)
    assert (status, list(found)) == (0, [path.stem]), text
    (intensity, state, masked), *_ = found.values()
    assert (state, masked) == (2, 120)
    assert np.nanmax(intensity) < 4000
    assert "marks 120 of 19200 pixels as bad (0.62%)" in text


@pytest.mark.parametrize("kind", ["edf", "tif"])
def test_five_images_in_one_file_are_five_patterns(folder, kind):
    frames = [frame(k, k) for k in range(1, 6)]
    path = folder / f"stack.{kind}"
    if kind == "edf":
        image = fabio.edfimage.EdfImage(data=frames[0])
        for further in frames[1:]:
            image.append_frame(data=further)
        image.write(str(path))
    else:
        tifffile.imwrite(path, np.array(frames).astype(np.uint16))
    status, text, found = azint(folder, path)
    assert status == 0, text
    intensity, state, _ = found["stack"]
    assert (len(intensity), state) == (5, 2)
    means = np.nanmean(intensity, axis=1)
    np.testing.assert_allclose(means / means[0], [1, 2, 3, 4, 5], rtol=0.01)


def test_an_image_that_was_cut_short_is_refused_by_name_and_the_next_one_integrated(folder):
    for name in ("a", "b"):
        fabio.edfimage.EdfImage(data=frame()).write(str(folder / f"{name}.edf"))
    content = (folder / "a.edf").read_bytes()
    (folder / "a.edf").write_bytes(content[: len(content) // 2])
    status, text, found = azint(folder, folder / "a.edf", folder / "b.edf")
    assert (status, list(found)) == (1, ["b"])
    assert f"a.edf failed: {folder / 'a.edf'} cannot be read as an image: it lacks bytes" in text


def test_a_series_of_two_types_does_not_wrap(folder):
    fabio.tifimage.TifImage(data=frame().astype(np.uint16)).write(str(folder / "s_0001.tif"))
    fabio.tifimage.TifImage(data=frame(50, 2)).write(str(folder / "s_0002.tif"))
    for path in folder.glob("*.tif"):
        os.utime(path, (time.time() - 60,) * 2)  # a series just written may still grow
    status, text, found = azint(folder, folder / "s_0001.tif", folder / "s_0002.tif")
    assert status == 0, text
    (intensity, *_), *_ = found.values()
    assert np.nanmax(intensity[1]) / np.nanmax(intensity[0]) == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_frames_whose_dark_was_subtracted_keep_their_mean(folder, kind):
    noise = np.rint(np.random.default_rng(0).normal(0, 30, (1, *SHAPE))).astype(kind)
    path = write(folder / "f.h5", "entry/data/data", noise)
    status, text, found = azint(folder, path)
    assert status == 0, text
    assert abs(np.nanmean(found["f"][0])) < 2
    (folder / "cal.poni").write_text(PONI.format(detector="Detector"))
    status, text, found = azint(folder, path, "--lower-limit", "0", "--again")
    assert status == 0, text
    assert np.nanmean(found["f"][0]) > 15
    assert "of the pixels are negative" in text
    assert "--lower-limit none" in text


def test_what_one_file_cannot_takes_nothing_from_the_next(folder):
    """A detector that is not there, types that no kernel knows, and whatever a library raises."""
    for name, values in (("a", frame()[None].astype(">f4")), ("b", (frame()[None] / 8).astype("f2"))):
        write(folder / f"{name}.h5", "entry/data/data", values)
    write(folder / "c.h5", "entry/data/data", frame()[None, :50])
    write(folder / "d.h5", "entry/data/data", frame()[None])
    names = [folder / f"{name}.h5" for name in "abcd"]
    status, text, found = azint(folder, *names, "--mask", write(folder / "m.h5", "mask", np.zeros(SHAPE, bool)))
    assert (status, list(found)) == (1, ["a", "b", "d"])
    assert text.count("failed:") == 1
    assert "has shape (128, 150), but the frames have (50, 150)" in text
    np.testing.assert_allclose(found["a"][0], found["d"][0], rtol=1e-5)
    np.testing.assert_allclose(8 * found["b"][0], found["d"][0], rtol=1e-2)


def test_what_no_error_of_ours_is_names_the_file_and_leaves_no_half_file(folder, monkeypatch):
    for name in ("a", "b"):
        write(folder / f"{name}.h5", "entry/data/data", frame()[None])
    real = np.concatenate
    broken = []

    def once(*arguments, **named):
        if not broken:
            broken.append(True)
            raise NotImplementedError("no such type")
        return real(*arguments, **named)

    monkeypatch.setattr("danmax_bluesky.pipelines.blocks.np.concatenate", once)
    status, text, found = azint(folder, folder / "a.h5", folder / "b.h5")
    assert (status, list(found)) == (1, ["b"])
    assert f"a.h5 failed: {folder / 'a.h5'} cannot be integrated: NotImplementedError: no such type" in text


def test_an_aborted_eiger_series_is_integrated_as_far_as_it_goes(folder):
    write(folder / "s_data_000001.h5", "entry/data/data", np.array([frame(1, k) for k in range(3)]).astype(np.uint32))
    with h5py.File(folder / "s_master.h5", "w") as file:
        for number in (1, 2):
            link = h5py.ExternalLink(f"s_data_{number:06d}.h5", "/entry/data/data")
            file[f"/entry/data/data_{number:06d}"] = link
    for _ in range(2):  # looked at again, since the file may be put back
        status, text, found = azint(folder, folder / "s_master.h5")
        assert status == 1
        assert f"{folder / 's_data_000002.h5'} does not exist; its frames are missing" in text
        intensity, state, _ = found["s_master"]
        assert (len(intensity), state) == (3, 3)
        assert np.isfinite(intensity).any(axis=1).all()
    write(folder / "s_data_000002.h5", "entry/data/data", frame(1, 4)[None].astype(np.uint32))
    status, text, found = azint(folder, folder / "s_master.h5")
    assert status == 0, text
    assert (len(found["s_master"][0]), found["s_master"][1]) == (4, 2)


def test_a_dark_for_each_data_file_and_a_background_come_from_the_command_line(folder):
    for number in (1, 2):
        fabio.edfimage.EdfImage(data=frame() + 100 * number).write(str(folder / f"s_{number}.edf"))
        fabio.edfimage.EdfImage(data=np.full(SHAPE, 100 * number)).write(str(folder / f"s_{number}_dark.edf"))
    status, text, found = azint(folder, folder, "--dark", "{folder}/{stem}_dark.edf")
    assert (status, list(found)) == (0, ["s_1", "s_2"]), text
    np.testing.assert_allclose(found["s_1"][0], found["s_2"][0], rtol=1e-5)
    np.save(folder / "air.npy", np.array([np.full(SHAPE, 15.0), np.full(SHAPE, 25.0)]))
    options = ("--background", folder / "air.npy", "--background-factor", "2")
    status, text, with_air = azint(folder, folder / "s_1.edf", "--no-solid-angle", "--polarization", "0", *options)
    assert status == 0, text
    status, text, without = azint(folder, folder / "s_1.edf", "--no-solid-angle", "--polarization", "0")
    assert status == 0, text
    np.testing.assert_allclose(without["s_1"][0] - with_air["s_1"][0], 40.0, rtol=0.01)


def test_a_background_may_be_a_pattern_of_an_empty_scan(folder):
    write(folder / "air.h5", "entry/data/data", np.full((1, *SHAPE), 20, np.int32))
    write(folder / "s.h5", "entry/data/data", (frame() + 40)[None])
    status, text, _ = azint(folder, folder / "air.h5")
    assert status == 0, text
    status, text, plain = azint(folder, folder / "s.h5")
    assert status == 0, text
    pattern = folder / "out" / "air_integrated.h5"
    status, text, found = azint(folder, folder / "s.h5", "--background", pattern, "--background-factor", "2")
    assert status == 0, text
    np.testing.assert_allclose(plain["s"][0] - found["s"][0], 40.0, rtol=0.03)
