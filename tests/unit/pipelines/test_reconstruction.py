"""The whole chain on a small phantom: every step with numbers that are right, and files that hold them."""

import json
import tracemalloc
from dataclasses import replace

import fabio
import h5py
import numpy as np
import pytest
import zarr

from danmax_bluesky.errors import ScanError, StorageError
from danmax_bluesky.pipelines.binned_frames import Pixels, binned
from danmax_bluesky.pipelines.reconstruction import reconstruct_frames
from danmax_bluesky.pipelines.slice_target import SlicesTarget, write_reconstruction
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.storage import slice_export
from danmax_bluesky.testing.phantoms import BONE, project, truth
from danmax_bluesky.tomography.quality import compare_slices
from danmax_bluesky.tomography.ramp import softened
from danmax_bluesky.tomography.tori import ReconstructionSettings

WIDTH, ROWS, CENTRE = 96, 36, 49.3


def phantom(turn=180.0, count=181):
    """Counts of a phantom whose contrast grows from row to row, flats and darks; angles."""
    theta = np.linspace(0, turn, count)
    lines = project(BONE, WIDTH, theta, CENTRE, 0.7)[:, None] * np.linspace(0.8, 1.2, ROWS)[:, None]
    light = np.concatenate([np.zeros((2, ROWS, WIDTH)), np.ones((2, ROWS, WIDTH)), np.exp(-lines)])
    keys = np.array([2] * 2 + [1] * 2 + [0] * count)
    angles = np.concatenate([np.full(4, np.nan), theta])
    return (100 + 60000 * light).astype(np.uint16), keys, angles


@pytest.fixture(scope="module")
def half_turn():
    return TomographyFrames.of_columns(*phantom(), {}, "orca")


def slices_of(frames, rows, centre_px=None, **settings):
    made = reconstruct_frames(frames, ReconstructionSettings(**settings), rows, centre_px=centre_px, threads=1)
    try:
        return made, np.concatenate([block.copy() for _, block in made.blocks()])
    finally:
        made.close()


@pytest.fixture
def target(tmp_path):
    (tmp_path / "raw.h5").write_bytes(b"raw")
    return SlicesTarget(tmp_path / "slices.h5", "", "bone", "orca", tmp_path / "raw.h5", "uid")


def test_binned_and_cut_frames_give_the_same_slice_in_larger_pixels_and_the_axis_of_the_detector(half_turn):
    made, (image,) = slices_of(half_turn, [18], columns=(4, WIDTH), bin_px=2, bin_angles=2)
    assert made.rows == [18]
    assert made.axis.centre_px == pytest.approx(CENTRE, abs=0.2)
    fine = truth(BONE, 2 * made.width, 0.7 * WIDTH / (2 * made.width))
    coarse = 2 * fine.reshape(made.width, 2, made.width, 2).mean(axis=(1, 3))
    quality = compare_slices(image / np.linspace(0.8, 1.2, ROWS)[18:20].mean(), coarse, 0.9)
    assert quality.gain == pytest.approx(1, abs=0.03)
    assert quality.correlation > 0.97
    given, (again,) = slices_of(half_turn, [19], made.axis.centre_px, columns=(4, WIDTH), bin_px=2, bin_angles=2)
    assert given.axis.centre_px == pytest.approx(made.axis.centre_px)
    assert np.abs(again - image).max() < 1e-5


def test_a_mean_of_which_a_frame_was_never_filled_is_left_out_since_its_angle_would_be_another():
    frames, keys, theta = phantom(count=61)
    frames[10] = 0
    source, pixels = binned(
        TomographyFrames.of_columns(frames, keys, theta, {}, "orca"), ReconstructionSettings(bin_px=2, bin_angles=3)
    )
    assert source.theta_deg[:2] == pytest.approx([3, 12])
    assert pixels == Pixels(0, 2)
    lacking, whole = source.source[slice(6, 8), slice(0, 2)]  # frames 10, 11 and 12; 13, 14 and 15
    assert not lacking.any()
    expected = frames[[13, 14, 15], :4].astype(float).reshape(3, 2, 2, WIDTH // 2, 2).mean(axis=(0, 2, 4))
    assert whole == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ScanError, match=r"orca: columns = \[0, 96\] and bin_px = 32 leave 3 columns"):
        binned(source, ReconstructionSettings()) and binned(
            TomographyFrames.of_columns(frames, keys, theta, {}, "orca"), ReconstructionSettings(bin_px=32)
        )


def test_only_projections_that_follow_each_other_in_angle_become_one():
    frames, keys, theta = phantom(count=21)
    golden = TomographyFrames.of_columns(frames, keys, np.r_[theta[:4], np.arange(21) * 137.508 % 180], {}, "orca")
    with pytest.raises(ScanError, match=r"bin_angles = 2: projections one after the other are .* say bin_angles = 1"):
        binned(golden, ReconstructionSettings(bin_angles=2))
    with pytest.raises(ScanError, match="a series of volumes needs angles that follow each other"):
        golden.windows(90, 90)
    over = TomographyFrames.of_columns(frames, keys, np.r_[theta[:4], (350 + np.arange(21)) % 360], {}, "orca")
    source, _ = binned(over, ReconstructionSettings(bin_angles=3))
    assert source.theta_deg[:5] == pytest.approx([351, 354, 357, 359, 1])


def test_less_than_half_a_turn_is_refused_with_the_option_that_takes_it():
    of = TomographyFrames.of_columns(*phantom(150, 151), {}, "orca")
    with pytest.raises(ScanError, match=r"151 projections do not cover half a turn.*--allow-wedge"):
        slices_of(of, [3], CENTRE)
    made, (image,) = slices_of(of, [3], CENTRE, wedge="allow")
    assert any("a wedge of 29 degrees was not measured" in text for text in made.remarks)
    assert compare_slices(image, truth(BONE, WIDTH, 0.7)).correlation > 0.8


@pytest.mark.parametrize("method", ["fourier", "fbp"])
def test_what_cannot_be_is_refused_before_a_frame_is_read(half_turn, method):
    class Unread:
        shape, dtype = half_turn.source.shape, half_turn.source.dtype

        def __getitem__(self, key):
            raise AssertionError("a frame was read")

    unread = replace(half_turn, source=Unread())
    with pytest.raises(ScanError, match=r"memory_mb = 16: .* give at least \d+"):
        slices_of(replace(unread, theta_deg=np.linspace(0, 360, 181)), range(ROWS), method=method, memory_mb=16,
                  edge_px=20000)  # fmt: skip
    with pytest.raises(ScanError, match="centre = 96: the axis must lie in the field, columns 0 to 95"):
        slices_of(unread, [3], 96)
    with pytest.raises(ScanError, match="rotation turned 180 degrees, no full turn; say 'auto'"):
        slices_of(unread, [3], method=method, half_acquisition="stitch")


def test_the_limit_is_kept_with_iterations_and_stitched_slices_by_fewer_slices_at_once(tmp_path):
    theta = np.linspace(0, 360, 361)
    lines = project(BONE, WIDTH, theta, 20.0, 1.2)[:, None] * np.linspace(0.8, 1.2, ROWS)[:, None]
    light = np.concatenate([np.ones((1, ROWS, WIDTH)), np.exp(-lines)])
    keys = np.array([1] + [0] * len(theta))
    counts = (60000 * light).astype(np.uint16)
    of = TomographyFrames.of_columns(counts, keys, np.array([np.nan, *theta]), {}, "orca")
    settings = ReconstructionSettings(
        method="tv", parameters={"iterations": 1}, memory_mb=24, half_acquisition="stitch"
    )
    slices_of(of, [3], 20.0, method="tv", parameters={"iterations": 1})  # compiled before it is measured
    tracemalloc.start()
    made = reconstruct_frames(of, settings, range(ROWS), centre_px=20.0, folder=tmp_path, threads=1)
    shapes = [block.shape for _, block in made.blocks()]
    made.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.grouping.at_once < made.grouping.lanes
    assert sum(shape[0] for shape in shapes) == ROWS
    assert shapes[0] == (made.grouping.at_once, 151, 151)
    assert peak < 1.05 * 24 * 2**20


def test_a_softer_window_of_the_picture_shows_what_such_slices_would(half_turn):
    sharp, soft = (slices_of(half_turn, [18], CENTRE, window=window)[1][0] for window in ("ramp", "hann"))
    assert compare_slices(softened(sharp, "hann"), soft, 0.9).nrmse < 0.002
    assert compare_slices(sharp, soft, 0.9).nrmse > 0.01
    assert softened(soft, "ramp", "hann") == pytest.approx(soft, abs=1e-6)


def volume(target):
    with h5py.File(target.output) as file:
        return file["entry/data/data"][()]


@pytest.mark.parametrize("export", ["tiff", "ome-zarr"])
def test_what_was_killed_goes_on_with_the_same_bits_and_is_exported(half_turn, target, export):
    settings = ReconstructionSettings(rows="all", export=export, export_bits=16, export_range=(-0.01, 0.05))
    write_reconstruction(half_turn, settings, target)
    expected = volume(target)
    target.output.unlink()
    counts = []

    def killed(what, done, of):
        counts.append((what, done))
        if what == "slices" and done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_reconstruction(half_turn, settings, target, report=killed)
    assert not target.output.exists()
    counts.clear()
    files, remarks = write_reconstruction(half_turn, settings, target, report=lambda *told: counts.append(told))
    assert "16 of 36 slices were there, of a run that was interrupted" in remarks
    assert [done for what, done, _ in counts if what == "slices"] == [32, 36]
    assert np.array_equal(volume(target), expected)
    assert sorted(path.name for path in target.output.parent.iterdir()) == sorted(
        ["raw.h5", "slices.h5", "slices.png", files[-1].name]
    )
    levels = np.rint(np.clip((expected.astype(np.float64) + 0.01) / 0.06 * 65535, 0, 65535))
    if export == "tiff":
        found = np.stack([fabio.open(str(path)).data for path in sorted(files[-1].glob("*.tif"))])
    else:
        group = zarr.open_group(files[-1], mode="r")
        found = group["0"][:]
        (scale,) = group.attrs["ome"]["multiscales"]
        assert [item["path"] for item in scale["datasets"]] == ["0", "1"]
        assert scale["datasets"][1]["coordinateTransformations"][0]["scale"] == [2, 2, 2]
        half = levels.reshape(ROWS // 2, 2, WIDTH // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3, 5))
        assert np.abs(group["1"][:] - half).max() <= 1
    assert np.abs(found - levels).max() <= 1
    about = json.loads((files[-1] / slice_export.ABOUT).read_text())
    assert (about["bits"], about["black"], about["white"], about["unit"]) == (16, -0.01, 0.05, "1/pixel")
    assert sum(about["histogram"]["counts"]) == WIDTH * (WIDTH + 2 * ROWS)
    (files[-1] / slice_export.ABOUT).unlink()
    with pytest.raises(StorageError, match="was not exported by this program"):
        write_reconstruction(half_turn, settings, target)


def test_a_rotation_that_goes_on_becomes_a_series_of_volumes(target):
    of = TomographyFrames.of_columns(*phantom(720, 721), {}, "orca")
    settings = ReconstructionSettings(volume_deg=180, volume_step_deg=270, picture=False)
    files, _ = write_reconstruction(of, settings, target)
    assert [path.name for path in files] == ["slices_0000.h5", "slices_0001.h5", "slices_0002.h5"]
    first, second, third = (volume(replace(target, output=path))[0] for path in files)
    assert compare_slices(first / np.linspace(0.8, 1.2, ROWS)[18], truth(BONE, WIDTH, 0.7)).gain == pytest.approx(
        1, abs=0.03
    )
    for image in (second, third):
        assert compare_slices(image, first).nrmse < 0.02
    with pytest.raises(ScanError, match=r"raw\.h5: orca: volume_deg = 800: rotation turned 721 degrees"):
        write_reconstruction(of, settings.model_copy(update={"volume_deg": 800}), target)
