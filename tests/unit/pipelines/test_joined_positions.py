"""Several positions of a detector in one pattern, against pyFAI's MultiGeometry."""

import json
import math
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError, DanmaxError, SettingsError, StorageError
from danmax_bluesky.pipelines.joined_positions import integrate_positions
from danmax_bluesky.pipelines.opened_positions import Position
from danmax_bluesky.pipelines.output import COMPLETE, INCOMPLETE, state_of
from danmax_bluesky.pipelines.rebin import rebin_file
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.storage.patterns import read_patterns, read_recipe
from danmax_bluesky.testing.arm import PIXEL_M, SHAPE, THREE, ArmPosition, joined_by_pyfai, poni_of_arm, write_arm

PIXEL_SR = PIXEL_M**2 / THREE[0].distance_m ** 2
MONITORS = [position.monitor for position in THREE]


@pytest.fixture(scope="module")
def computed_arm(tmp_path_factory):
    """.poni of each position, and a frame of each, which takes seconds to compute."""
    return write_arm(tmp_path_factory.mktemp("arm"))


@pytest.fixture
def arm(tmp_path, computed_arm):
    """Folder, .poni of each position, and a frame of each, also in a file `arm_<n>.h5`."""
    ponis = [Path(shutil.copy(poni, tmp_path)) for poni in computed_arm[0]]
    frames = [frame.copy() for frame in computed_arm[1]]
    for number, frame in enumerate(frames):
        write(tmp_path / f"arm_{number}.h5", frame)
    return tmp_path, ponis, frames


def write(path, *frames):
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/data/data", data=np.stack(frames), chunks=(1, *SHAPE), fletcher32=True)


def positions(folder, ponis, monitors=None):
    counts = monitors or [None] * len(ponis)
    return [Position(poni, folder / f"{poni.stem}.h5", count) for poni, count in zip(ponis, counts, strict=True)]


def joined(folder, ponis, monitors=None, **recipe):
    report = integrate_positions(
        positions(folder, ponis, monitors),
        {"radial_bins": 200, "error_model": "pyfai-poisson", **recipe},
        folder / "joined_integrated.h5",
        if_exists="replace",
    )
    return report, read_patterns(report.output)


def apart(ours, theirs):
    """Largest difference over the largest value; what nothing was measured of is 0 with pyFAI."""
    return np.abs(np.nan_to_num(ours) - theirs).max() / theirs.max()


@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
def test_the_joined_pattern_is_that_of_multi_geometry(arm, splitting):
    folder, ponis, frames = arm
    masks = [np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)]
    masks[1][:, 30:44] = True
    for number, mask in enumerate(masks):
        np.save(folder / f"arm_{number}_mask.npy", mask)
    report, stored = joined(folder, ponis, MONITORS, splitting=splitting, mask="{folder}/{stem}_mask.npy")
    theirs = joined_by_pyfai(ponis, frames, stored.radial_edges, masks=masks, monitors=MONITORS, splitting=splitting)
    assert (report.frames, len(report.problems), state_of(report.output)) == (3, 0, COMPLETE)
    assert apart(stored.intensity[0], PIXEL_SR * theirs.intensity) < 1e-4
    assert apart(stored.sigma[0], PIXEL_SR * theirs.sigma) < 1e-4
    assert stored.radial_axis == pytest.approx(theirs.radial, rel=1e-6)


def test_the_joined_cake_is_that_of_multi_geometry(arm):
    """But for the outermost bins, where pyFAI counts also what lies outside, and those about the beam."""
    folder, ponis, frames = arm
    _, stored = joined(folder, ponis, MONITORS, azimuth_bins=6, cake_only=True, splitting="bbox")
    theirs = joined_by_pyfai(ponis, frames, stored.radial_edges, monitors=MONITORS, rows=6)
    inside = (slice(1, -1), slice(20, -1))
    assert apart(stored.intensity[0][inside], PIXEL_SR * theirs.intensity[inside]) < 1e-4
    assert apart(stored.sigma[0][inside], PIXEL_SR * theirs.sigma[inside]) < 1e-4


@pytest.mark.parametrize("weighting", ["pyfai", "azint"])
def test_rings_lie_where_they_are_and_are_as_high_at_every_position(arm, weighting):
    """Each position alone has the pattern of all, on the scale of its distance and monitor."""
    folder, ponis, _ = arm
    _, whole = joined(folder, ponis, MONITORS, unit="2th_deg", weighting=weighting, error_model="poisson")
    for number, (poni, position) in enumerate(zip(ponis, THREE, strict=True)):
        limits = (float(whole.radial_edges[0]), float(whole.radial_edges[-1]))
        recipe = {"poni": str(poni), "unit": "2th_deg", "radial_bins": 200, "radial_range": limits}
        report = integrate_scan(
            folder / f"arm_{number}.h5", {**recipe, "weighting": weighting}, folder / f"{number}.h5"
        )
        alone = read_patterns(report.output)
        scale = position.monitor * (THREE[0].distance_m / position.distance_m) ** 2
        seen = np.isfinite(alone.intensity[0]) & (alone.norm > 20)
        assert seen.sum() > 50
        height = alone.intensity[0][seen].sum() / whole.intensity[0][seen].sum()
        assert height == pytest.approx(scale, rel=0.01)


def test_a_file_of_frames_counts_with_all_of_them(arm):
    folder, ponis, frames = arm
    _, one = joined(folder, ponis)
    for number, frame in enumerate(frames):
        write(folder / f"arm_{number}.h5", *[frame] * (number + 1))
    report, several = joined(folder, ponis)
    theirs = joined_by_pyfai(
        [poni for number, poni in enumerate(ponis) for _ in range(number + 1)],
        [frame for number, frame in enumerate(frames) for _ in range(number + 1)],
        several.radial_edges,
    )
    assert report.frames == 6
    assert apart(several.intensity[0], PIXEL_SR * theirs.intensity) < 1e-4
    assert apart(several.sigma[0], PIXEL_SR * theirs.sigma) < 1e-4
    assert several.norm.sum() > one.norm.sum()


def test_two_files_of_one_position_are_one_file_with_the_frames_of_both(arm):
    folder, ponis, frames = arm
    recipe = {"radial_bins": 100, "unit": "2th_deg"}
    twice = integrate_positions([Position(ponis[0], folder / "arm_0.h5")] * 2, recipe, folder / "a.h5").output
    write(folder / "both.h5", frames[0], frames[0])
    alone = integrate_scan(folder / "both.h5", {**recipe, "poni": str(ponis[0])}, folder / "b.h5").output
    summed = rebin_file(alone, folder / "c.h5", frames=2)
    ours, theirs = read_patterns(twice), read_patterns(summed)
    assert ours.intensity == pytest.approx(theirs.intensity, rel=1e-4, nan_ok=True)
    assert ours.sigma == pytest.approx(theirs.sigma, rel=1e-4, nan_ok=True)


def test_the_file_tells_of_every_position(arm):
    folder, ponis, _ = arm
    report, stored = joined(folder, ponis, MONITORS)
    recipe = read_recipe(report.output)
    table = json.loads(recipe["positions"])
    assert [entry["poni_file"] for entry in table] == list(map(str, ponis))
    assert [entry["exposure_of_frames"] for entry in table] == pytest.approx([1, 2 / 1.2**2, 0.5])
    assert [entry["number_of_frames"] for entry in table] == [1, 1, 1]
    assert [recipe[f"position_{number}_poni"] for number in (1, 2, 3)] == [poni.read_text() for poni in ponis]
    assert recipe["position_2_mask"].shape == SHAPE
    assert len(json.loads(recipe["files"])) == 3
    assert stored.monitor is not None
    assert stored.monitor.tolist() == [1.0]
    with pytest.raises(StorageError, match="join them again with wider bins"):
        rebin_file(report.output, folder / "wider.h5", bins=2)


def test_positions_need_not_overlap_and_what_none_sees_is_empty(arm):
    folder, _, _ = arm
    ponis, frames = write_arm(folder, [ArmPosition(0.0), ArmPosition(14.0)])
    write(folder / "arm_1.h5", frames[1])
    _, stored = joined(folder, ponis, radial_bins=300, unit="2th_deg")
    empty = np.isnan(stored.intensity[0])
    assert empty.any()
    assert np.isnan(stored.sigma[0])[empty].all()
    assert not empty[[0, -1]].any()


def test_a_frame_that_cannot_be_read_is_left_out_and_named(arm):
    folder, ponis, frames = arm
    write(folder / "arm_1.h5", frames[1], frames[1])
    with h5py.File(folder / "arm_1.h5") as file:
        offset = file["/entry/data/data"].id.get_chunk_info(1).byte_offset
    with (folder / "arm_1.h5").open("r+b") as raw:
        raw.seek(offset + 40)
        raw.write(b"\xff\xff\xff\xff")
    report, stored = joined(folder, ponis)
    assert state_of(report.output) == INCOMPLETE
    (problem,) = report.problems
    assert "1 of 2 frames of" in problem
    assert "arm_1.h5" in problem
    theirs = joined_by_pyfai(ponis, frames, stored.radial_edges)
    assert apart(stored.intensity[0], PIXEL_SR * theirs.intensity) < 1e-4


def test_what_cannot_be_joined_is_one_error_and_leaves_no_file(arm):
    folder, ponis, _ = arm
    (folder / "other.poni").write_text(poni_of_arm(THREE[1], 3.6e-11))
    given = positions(folder, ponis)
    other = [given[0], Position(folder / "other.poni", folder / "arm_1.h5")]
    far = {"radial_range": (9.0, 9.5), "unit": "2th_deg"}
    cases = [
        (given[:1], {}, SettingsError, "1 position cannot be joined"),
        (other, {}, CalibrationError, "is for 34.4401 keV, but .*arm_0.* is for 35.4241 keV"),
        (given, {"unit": "r_mm"}, CalibrationError, "length on the detector"),
        (given, far, CalibrationError, "arm_0.h5 with .*arm_0.poni: no pixel lies in any bin"),
        (given, {"monitor": "i0"}, CalibrationError, "monitor 'i0' is not known"),
        (positions(folder, ponis, [1, 2, None]), {}, SettingsError, "give them for every position, or none"),
        (positions(folder, ponis, [1, 2, math.nan]), {}, SettingsError, "must be a number above 0"),
        ([given[0], Position(folder / "none.poni", folder / "arm_1.h5")], {}, DanmaxError, "none.poni"),
        ([given[0], Position(ponis[1], folder / "none.h5")], {}, StorageError, "none.h5"),
        (given, {"slices": [{"direction": "x", "plane": "vertical", "position": 3}]}, SettingsError, "slices"),
    ]
    for several, recipe, kind, message in cases:
        with pytest.raises(kind, match=message):
            integrate_positions(several, {"radial_bins": 50, **recipe}, folder / "out.h5")
        assert not (folder / "out.h5").exists()
    report, _ = joined(folder, ponis)
    with pytest.raises(StorageError, match="exists already"):
        integrate_positions(given, {}, report.output)
