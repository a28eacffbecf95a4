"""One pass over the frames: right lines, each frame read once, and a limit of memory that is kept."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.one_pass import plan_memory, read_lines
from danmax_bluesky.pipelines.tomography_frames import TomographyFrames
from danmax_bluesky.tomography.direct_fourier import sinogram
from danmax_bluesky.tomography.interleaved import InterleavedFourier

ROWS, WIDTH, ANGLES = 21, 48, 31


class CountedFrames:
    """Counts how often each frame is read."""

    def __init__(self, frames):
        self.frames, self.shape, self.dtype = frames, frames.shape, frames.dtype
        self.reads = np.zeros(len(frames), int)

    def __getitem__(self, key):
        self.reads[key[0]] += 1
        return self.frames[key]


def raw_frames(dtype=np.uint16, seed=1):
    """Flats, half of the projections, flats, the other half, flats, darks: a beam that fades."""
    generator = np.random.default_rng(seed)
    keys = [1] * 3 + [0] * 15 + [1] * 2 + [0] * 16 + [1] * 3 + [2] * 4
    fade = np.linspace(1, 0.7, len(keys))[:, None, None]
    light = np.where(np.array(keys) == 2, 0, 1)[:, None, None] * 8000 * fade
    through = np.where(np.array(keys) == 0, 0.4, 1)[:, None, None]
    frames = 100 + light * through * generator.uniform(0.8, 1, (len(keys), ROWS, WIDTH))
    return frames.astype(dtype), np.array(keys)


def tomography(frames, keys, **columns):
    theta = np.full(len(keys), np.nan)
    theta[keys == 0] = np.arange(ANGLES) * 180 / (ANGLES - 1)
    source = CountedFrames(frames)
    return TomographyFrames.of_columns(source, keys, theta, columns, "orca"), source


def usual(frames, keys):
    """The sinograms as they were made before, from whole stacks."""
    stacks = [frames[keys == key] for key in (0, 1, 2)]
    of, _ = tomography(frames, keys)
    return sinogram(*stacks, moments=of.moments, light=of.light)


def largest_limit(of, n_rows, near, wanted):
    limit = 2**23
    while not wanted(plan_memory(limit, of, n_rows, ROWS, near)):
        limit -= 2**12
    return limit


@pytest.mark.parametrize("folder", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("rows", [range(ROWS), [3, 8, 20]])
def test_lines_are_those_of_whole_stacks_and_each_frame_is_read_once(tmp_path, folder, rows):
    frames, keys = raw_frames()
    of, source = tomography(frames, keys)
    limit = largest_limit(of, len(rows), 2, lambda plan: plan.on_disk) if folder else 2**30
    lines = read_lines(of, rows, [5, 9], limit, folder=tmp_path if folder else None, threads=2)
    assert lines.plan.on_disk == folder
    expected = usual(frames, keys)
    for group_rows, group in lines.groups():
        for lane, row in enumerate(group_rows):
            assert group[..., lane] == pytest.approx(expected[row], abs=2e-5)
        assert not group[..., len(group_rows) :].any()
    assert lines.near == pytest.approx(expected[[5, 9]], abs=2e-5)
    assert (source.reads == 1).all()
    lines.close()
    assert not list(tmp_path.iterdir())


def test_fewer_slices_at_once_where_memory_is_short_give_the_same_slices(tmp_path):
    frames, keys = raw_frames()
    of, _ = tomography(frames, keys)
    slices = {}
    ample = plan_memory(2**30, of, ROWS, ROWS, 1)
    with pytest.raises(ScanError, match=r"memory_mb = 0: 31 projections of orca, 21 x 48 .* give at least 1"):
        plan_memory(1000, of, ROWS, ROWS, 1)
    for limit in (ample.peak, largest_limit(of, ROWS, 1, lambda plan: plan.lanes < 16)):
        lines = read_lines(of, range(ROWS), [4], limit, folder=tmp_path, threads=1)
        assert lines.plan.peak <= limit
        engine = InterleavedFourier(WIDTH, of.theta_deg, 23.0, lanes=lines.plan.lanes, threads=1)
        slices[lines.plan.lanes] = np.concatenate([engine.interleaved(g)[: len(r)] for r, g in lines.groups()])
        lines.close()
    few, many = sorted(slices)
    assert few < many == 16
    assert np.abs(slices[few] - slices[many]).max() < 1e-4 * np.abs(slices[many]).max()


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_limit_is_kept(tmp_path, on_disk):
    keys = np.array([1] * 4 + [0] * 360 + [2] * 4)
    frames = np.full((len(keys), 64, 256), 100, np.uint16) + (np.arange(256) + 500).astype(np.uint16)
    frames[keys == 2] = 100
    theta = np.where(keys == 0, np.cumsum(keys == 0) * 0.5, np.nan)
    of = TomographyFrames.of_columns(frames, keys, theta, {}, "orca")
    InterleavedFourier(8, np.arange(4), 3.5)(np.ones((16, 4, 8), np.float32))  # compiled before it is measured
    read_lines(of, [1], [1], 2**30).close()
    limit = plan_memory(2**30, of, 64, 64, 0).peak
    limit -= 4 * 64 * 256 * 200 if on_disk else 0
    tracemalloc.start()
    lines = read_lines(of, range(64), [], limit, folder=tmp_path if on_disk else None, threads=1)
    engine = InterleavedFourier(256, of.theta_deg, 127.5, lanes=lines.plan.lanes, threads=1)
    for _, group in lines.groups():
        engine.interleaved(group)
    lines.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines.plan.on_disk == on_disk
    assert peak < 1.05 * lines.plan.peak <= 1.05 * limit


def test_pixels_that_tell_nothing_are_filled_from_their_neighbours():
    frames, keys = raw_frames(np.float32)
    clean = usual(frames, keys)
    frames[5, 7, 10] = np.nan
    frames[6, 7, 0] = np.inf
    frames[:, 7, 20] = 100  # dead in the flats too
    frames[7, 9] = np.nan  # a row of one frame
    of, _ = tomography(frames, keys)
    lines = read_lines(of, [7, 9], [7], 2**30)
    (_, group) = next(lines.groups())
    assert np.isfinite(group).all()
    assert np.abs(group[2, 10, 0] - clean[7, 2, [9, 11]].mean()) < 0.1
    assert np.abs(group[3, 0, 0] - clean[7, 3, 1]) < 1e-3
    assert np.abs(group[:, 20, 0] - clean[7, :, [19, 21]].mean(axis=0)).max() < 0.1
    others = np.delete(np.arange(WIDTH), [0, 10, 20])
    assert group[:, others, 0] == pytest.approx(clean[7][:, others], abs=2e-5)
    assert group[4, :, 1] == pytest.approx(clean[8, 4], abs=2e-5)  # row 8 is the nearest that was read
    assert lines.silent == {9: 1}
    assert lines.blind == pytest.approx(1 / (2 * 3 * WIDTH / 2), rel=0.5)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "<f2"])
def test_frames_of_any_order_of_bytes_are_reconstructed(dtype):
    frames, keys = raw_frames()
    of, _ = tomography(frames.astype(dtype), keys)
    with read_lines(of, [5], [], 2**30, threads=1) as lines:
        _, here = next(lines.groups())
        here = here[..., 0].copy()
    expected, _ = tomography(frames.astype(dtype).astype(np.float64), keys)
    with read_lines(expected, [5], [], 2**30, threads=1) as lines:
        _, there = next(lines.groups())
        assert here == pytest.approx(there[..., 0], abs=1e-5)


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, np.nan), (np.uint16, 0)])
def test_projections_without_a_finite_number_or_never_filled_are_named_and_left_out(dtype, value, tmp_path):
    frames, keys = raw_frames(dtype)
    expected = usual(frames, keys)
    lost = np.flatnonzero(keys == 0)[[3, 11]]
    frames[lost] = value
    of = tomography(frames, keys)[0]
    rest = np.delete(np.arange(ANGLES), [3, 11])
    for limit in (2**28, largest_limit(of, ROWS, 1, lambda plan: plan.on_disk)):
        with read_lines(of, range(ROWS), [2], limit, folder=tmp_path, threads=2) as whole:
            assert whole.empty == (3, 11)
            assert np.array_equal(whole.theta_deg, of.theta_deg[rest])
            assert whole.near[0] == pytest.approx(expected[2][rest], abs=2e-5)
            for rows, group in whole.groups():
                for lane, row in enumerate(rows):
                    assert group[..., lane] == pytest.approx(expected[row][rest], abs=2e-5)
    frames[keys == 0] = value
    with pytest.raises(ScanError, match=r"orca: 31 of 31 projections hold nothing but zeros"):
        read_lines(of, range(4), [], 2**28)


def test_flats_without_light_are_refused():
    frames, keys = raw_frames()
    frames[keys == 1] = 90
    of, _ = tomography(frames, keys)
    with pytest.raises(ScanError, match="orca: the flats are not brighter than the darks in 100% of the pixels"):
        read_lines(of, [7], [], 2**30)


def test_a_dataset_of_a_scan_will_do():
    frames, keys = raw_frames()
    theta = np.where(keys == 0, np.cumsum(keys == 0) * 6.0, 0)
    dataset = xr.Dataset(
        {"data": (("frame", "y", "x"), frames)},
        coords={"image_key_control": ("frame", keys), "rotation_angle": ("frame", theta)},
    )
    of = TomographyFrames.of(dataset, "orca")
    assert read_lines(of, [], [7], 2**30).near[0] == pytest.approx(usual(frames, keys)[7], abs=2e-5)
