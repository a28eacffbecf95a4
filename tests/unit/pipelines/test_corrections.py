"""Darks, flats, backgrounds and masks come out of any file, averaged."""

from pathlib import Path

import fabio.edfimage
import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError, StorageError
from danmax_bluesky.pipelines.batch import find_sources, plan_tasks, run_task
from danmax_bluesky.pipelines.corrections import combined_dark, image_of, named_image
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.storage.frames_protocol import MeanImage
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.compose import compose_tomography
from danmax_bluesky.testing.powder import ring_frames
from danmax_bluesky.testing.replay import write_journal

SHAPE = (97, 83)
SOURCE = Path("/data/sample_0007.cbf.gz")


def dark_of(path, shape=SHAPE, kind="dark"):
    return image_of(path, kind, kind, SOURCE, shape, "pilatus")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/a/dark.edf", ("/a/dark.edf", None)),
        ("/a/d.h5::/entry/dark", ("/a/d.h5", "/entry/dark")),
        ("/here/{folder}/{stem}_dark.tif", ("/data/sample_0007_dark.tif", None)),
        ("/here/{file}", ("/data/sample_0007.cbf.gz", None)),
        ("/darks/{stem}.h5::/x", ("/darks/sample_0007.h5", "/x")),
    ],
)
def test_the_name_of_an_image_may_depend_on_the_data_file(name, expected):
    file, dataset = named_image(Path(name), SOURCE)
    assert (str(file), dataset) == expected


def test_a_stack_in_any_file_is_averaged_and_counted(tmp_path):
    stack = np.array([np.full(SHAPE, 10, np.float32), np.full(SHAPE, 30, np.float32)])
    image = fabio.edfimage.EdfImage(data=stack[0])
    image.append_frame(data=stack[1])
    image.write(str(tmp_path / "dark.edf"))
    np.save(tmp_path / "dark.npy", stack)
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        file["entry/other"] = file["entry/dark"] = stack
        file["entry/third"] = stack + 1
    for name in ("dark.edf", "dark.npy", "dark.h5::/entry/dark"):
        dark = dark_of(tmp_path / name)
        assert (dark.number, float(dark.counts.mean())) == (2, 20.0)
    with pytest.raises(StorageError, match=r"dark: .*several stacks"):
        dark_of(tmp_path / "dark.h5")
    with pytest.raises(CalibrationError, match=r"dark .*dark\.npy has shape \(97, 83\), but the frames have \(3, 3\)"):
        dark_of(tmp_path / "dark.npy", (3, 3))
    with pytest.raises(StorageError, match=r"flat: .*none\.tif does not exist"):
        dark_of(tmp_path / "none.tif", kind="flat")


def test_darks_and_flats_come_out_of_our_own_scans(tmp_path):
    run = compose_tomography(tmp_path, detectors=("pilatus",))
    record = record_of(write_journal(run))
    file = run.folder / "scan-0001_pilatus.h5"
    with h5py.File(file) as opened:
        frames = opened["/entry/instrument/pilatus/data"][...]
    (run.folder / "scan-0001.h5").touch()
    for kind in ("dark", "flat"):
        rows = [
            row
            for segment in record.segments_of(kind)
            for row in range(segment.external["pilatus"].start, segment.external["pilatus"].stop)
        ]
        for name in (file, run.folder / "scan-0001.h5"):
            image = dark_of(name, frames.shape[1:], kind)
            assert image.number == len(rows)
            np.testing.assert_allclose(image.counts, frames[rows].mean(axis=0))
            assert image.where.endswith(f"{len(rows)} {kind} frames")


def test_a_background_takes_the_frames_even_where_a_flat_lies_with_them(tmp_path):
    stack = np.full((3, *SHAPE), 7, np.int32)
    with h5py.File(tmp_path / "air.h5", "w") as file:
        file["entry/data/data"] = stack
        file["entry/data/flatfield"] = np.ones(SHAPE)
    for kind, expected in ((None, (7, 3)), ("flat", (1, 1)), ("dark", (7, 3))):
        image = image_of(tmp_path / "air.h5", kind, "background", SOURCE, SHAPE, "pilatus")
        assert (float(image.counts.mean()), image.number) == expected


def test_a_background_is_subtracted_with_its_factor_and_its_variance():
    dark = MeanImage(np.full((2, 2), 10.0), 5, "d")
    background = MeanImage(np.full((2, 2), 30.0), 3, "b")
    counts, variance = combined_dark(dark, background, 0.5, 1)
    assert counts[0, 0] == 10 + 0.5 * (30 - 10)
    assert variance[0, 0] == pytest.approx(0.25 * 30 / 3 + 0.25 * 10 / 5)
    counts, variance = combined_dark(None, background, 2.0, 1)
    assert (counts[0, 0], variance[0, 0]) == (60, 40)
    counts, variance = combined_dark(MeanImage(np.full((2, 2), -4.0), 1, "d"), None, 1.0, 9)
    assert (counts[0, 0], variance[0, 0]) == (-4, 0)
    assert combined_dark(None, None, 1.0, 1) == (None, None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cal.poni").write_text(
        'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": 0.000172, "pixel2": 0.000172}\n'
        "Distance: 0.1\nPoni1: 0.0075\nPoni2: 0.0079\nRot1: 0.0\nRot2: 0.0\nRot3: 0.0\nWavelength: 3.5e-11\n"
    )
    return tmp_path


def test_a_background_of_the_frames_themselves_leaves_nothing(folder):
    np.save(folder / "frame.npy", ring_frames(SHAPE, 1))
    with h5py.File(folder / "a.h5", "w") as file:
        file["entry/data"] = ring_frames(SHAPE, 1)
    recipe = {"poni": str(folder / "cal.poni"), "radial_bins": 40, "background": str(folder / "a.h5")}
    plain = integrate_scan(folder / "a.h5", {**recipe, "background": None}, folder / "p.h5")
    for factor in (1.0, 0.25):
        report = integrate_scan(folder / "a.h5", {**recipe, "background_factor": factor}, folder / f"o{factor}.h5")
        found, expected = read_patterns(report.output), read_patterns(plain.output)
        np.testing.assert_allclose(found.intensity, (1 - factor) * expected.intensity, atol=1e-4)
        np.testing.assert_allclose(found.sigma, np.sqrt(1 + factor**2) * expected.sigma, rtol=1e-4)
    with h5py.File(report.output) as file:
        assert file["/entry/reduction/input/background_factor"][()] == 0.25
        assert file["/entry/reduction/input/background_frames"][()] == 1
        assert b"a.h5::/entry/data" in file["/entry/reduction/input/background_file"][()]


def test_each_data_file_of_a_series_takes_its_own_dark(folder):
    frames = np.maximum(ring_frames(SHAPE, 2), 0)
    for number in (0, 1):
        fabio.edfimage.EdfImage(data=frames[0] + 10 * number).write(str(folder / f"s_{number:04d}.edf"))
        dark = np.full(SHAPE, 10 * number, np.int32)
        fabio.edfimage.EdfImage(data=dark).write(str(folder / f"s_{number:04d}_dark.edf"))
    recipe = recipe_settings(
        {"poni": str(folder / "cal.poni"), "radial_bins": 40, "dark": "{folder}/{stem}_dark.edf", "error_model": "none"}
    )
    tasks = plan_tasks(find_sources([folder], []), lambda _: [recipe])
    assert [task.source.name for task in tasks] == ["s_0000.edf", "s_0001.edf"]
    first, second = (read_patterns(run_task(task).output).intensity for task in tasks)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert {task.state for task in plan_tasks(find_sources([folder], []), lambda _: [recipe])} == {"done"}
    (folder / "s_0001_dark.edf").touch()
    assert [t.state for t in plan_tasks(find_sources([folder], []), lambda _: [recipe])] == ["done", "other recipe"]
