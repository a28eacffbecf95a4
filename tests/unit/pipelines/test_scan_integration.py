"""From detector files to files of patterns."""

import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.errors import AcquisitionError, CalibrationError, SettingsError, StorageError
from danmax_bluesky.pipelines.output import COMPLETE, INCOMPLETE, known_state, state_of
from danmax_bluesky.pipelines.rebin import rebin_file
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import ScanInfo, output_path
from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage.patterns import read_patterns

SHAPE = (97, 83)


@pytest.fixture
def detector_file(tmp_path, frames):
    path = tmp_path / "raw" / "day1" / "scan-0007_pilatus.h5"
    path.parent.mkdir(parents=True)
    write(path, frames)
    return path


def write(path, frames, **layout):
    layout = layout or {"chunks": (1, *frames.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")}
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("/entry/instrument/pilatus")
        group.create_dataset("data", data=frames, **layout)
        group["frame_number"] = np.arange(len(frames), dtype=np.uint32)
        group["timestamp"] = 1.7e9 + 0.1 * np.arange(len(frames))


def recipe(poni, **changes):
    return {"poni": str(poni), "radial_bins": 60, **changes}


def expected(poni, frames, **changes):
    geometry = geometry_of_poni(poni.read_text(), SHAPE)
    return Integrator(Recipe(geometry, radial_bins=60, **changes)).integrate(frames)


def test_radial_edges_come_from_the_recipe_or_from_a_file(detector_file, frames, poni, tmp_path):
    edges = (0.5, 0.7, 1.5, 2.0, 4.5)
    (tmp_path / "edges.txt").write_text("# 1/angstrom\n0.5, 0.7 1.5\n2.0  # the second ring\n\n4.5\n")
    patterns = expected(poni, frames, radial_edges=edges).intensity
    for name, given in {"a": {"radial_edges": edges}, "b": {"radial_edges_file": str(tmp_path / "edges.txt")}}.items():
        stored = read_patterns(integrate_scan(detector_file, recipe(poni, **given), tmp_path / f"{name}.h5").output)
        assert stored.radial_edges.tolist() == list(edges)
        assert stored.intensity == pytest.approx(patterns, rel=1e-6)
        widths = np.diff(edges)
        assert stored.integrals["I0"] == pytest.approx((patterns * widths).sum(axis=1), rel=1e-6)
        joined = read_patterns(rebin_file(tmp_path / f"{name}.h5", tmp_path / f"{name}_joined.h5", bins=2))
        assert joined.radial_edges.tolist() == [0.5, 1.5, 4.5]
        wider = expected(poni, frames, radial_edges=(0.5, 1.5, 4.5))
        assert joined.intensity == pytest.approx(wider.intensity, rel=1e-5)
        assert joined.sigma == pytest.approx(wider.sigma, rel=0.02)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"radial_edges": [1.0, 0.5]}, "numbers that rise, in q_A"),
        ({"radial_edges": [1.0, 2.0], "radial_range": [1, 2]}, "leave out radial_range"),
        ({"radial_edges_file": "words.txt"}, "words.txt must hold numbers alone"),
        ({"radial_edges_file": "none.txt"}, "none.txt cannot be read"),
        ({"radial_edges_file": "words.txt", "radial_edges": [1, 2]}, "leave one of them out"),
    ],
)
def test_radial_edges_that_cannot_be_used_are_refused(detector_file, poni, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("1 2 three\n")
    with pytest.raises(CalibrationError, match=message):
        integrate_scan(detector_file, recipe(poni, **given), tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("splitting", ["no", "bbox", "2x2"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_scan_gives_the_pattern_of_each_frame(detector_file, frames, poni, splitting, threads):
    report = integrate_scan(detector_file, recipe(poni, splitting=splitting), threads=threads)
    assert report.output == output_path(detector_file)
    patterns = read_patterns(report.output)
    wanted = expected(poni, frames, splitting=splitting)
    assert np.array_equal(patterns.intensity, wanted.intensity.astype("f4"), equal_nan=True)
    assert np.array_equal(patterns.sigma, wanted.sigma.astype("f4"), equal_nan=True)
    assert np.array_equal(patterns.index, np.arange(21))
    assert np.array_equal(patterns.columns["frame_number"], np.arange(21))
    assert patterns.columns["timestamp"][3] == pytest.approx(1.7e9 + 0.3)
    assert state_of(report.output) == COMPLETE


@pytest.mark.parametrize("layout", [{"compression": "gzip"}, {}, {"chunks": (4, *SHAPE)}])
@pytest.mark.parametrize("dtype", ["i4", "u2", "f4", ">u2", ">f4"])
def test_every_layout_gives_the_same_bits(tmp_path, frames, poni, layout, dtype):
    counts = np.maximum(frames, 0)
    write(tmp_path / "a.h5", counts)
    write(tmp_path / "b.h5", counts.astype(dtype), **(layout or {"chunks": None}))
    first, second = (read_patterns(integrate_scan(tmp_path / name, recipe(poni)).output) for name in ("a.h5", "b.h5"))
    assert np.array_equal(first.intensity, second.intensity, equal_nan=True)
    assert np.array_equal(first.sigma, second.sigma, equal_nan=True)


def test_a_cake_comes_with_its_pattern(detector_file, frames, poni):
    report = integrate_scan(detector_file, recipe(poni, azimuth_bins=12))
    with h5py.File(report.output) as file:
        assert file["entry/azint1d/definition"].asstr()[()] == "NXazint1d"
        assert file["entry/azint2d/definition"].asstr()[()] == "NXazint2d"
        assert file["entry/data"] == file["entry/azint1d/data"]
        assert list(file["entry/azint2d/data"].attrs["axes"]) == [".", "azimuthal_axis", "radial_axis"]
        assert file["entry/azint2d/data/azimuthal_axis_edges"].shape == (13,)
    cake = read_patterns(report.output, "azint2d")
    assert np.array_equal(
        cake.intensity, expected(poni, frames, azimuth_bins=12).intensity.astype("f4"), equal_nan=True
    )
    assert np.array_equal(
        read_patterns(report.output).intensity, expected(poni, frames).intensity.astype("f4"), equal_nan=True
    )


def test_a_frame_with_bad_pixels_has_a_norm_of_its_own(tmp_path, frames, poni):
    counts = np.maximum(frames, 0)
    counts[5, 40:50] = 1_000_000
    write(tmp_path / "scan.h5", counts)
    report = integrate_scan(tmp_path / "scan.h5", recipe(poni, threshold=100_000))
    wanted = expected(poni, counts, threshold=100_000.0)
    with h5py.File(report.output) as file:
        rows = file["entry/data/frame_norm"][...]
    assert len(rows) == 6
    assert np.allclose(rows[5], wanted.norm[5])
    assert not rows[:5].any()
    assert read_patterns(report.output).columns["masked_pixels"][5] == 10 * SHAPE[1]


def test_the_monitor_divides_and_is_kept(detector_file, frames, poni):
    monitor = np.linspace(90.0, 110.0, 21)
    report = integrate_scan(detector_file, recipe(poni, monitor="i0", monitor_reference=100.0), columns={"i0": monitor})
    patterns = read_patterns(report.output)
    wanted = expected(poni, frames).intensity / (monitor[:, None] / 100)
    assert np.allclose(patterns.intensity, wanted, rtol=1e-6, equal_nan=True)
    with h5py.File(report.output) as file:
        assert np.array_equal(file["entry/monitor/data"], monitor)
        assert file["entry/monitor_applied"][()]


def test_a_monitor_that_is_not_known_is_a_problem_and_is_not_applied(detector_file, poni):
    report = integrate_scan(detector_file, recipe(poni, monitor="i0"))
    assert "monitor 'i0' is known of 0 of 21 frames" in report.problems[0]
    with h5py.File(report.output) as file:
        assert not file["entry/monitor_applied"][()]
    assert known_state(report.output)[0::2] == (INCOMPLETE, 1)


def test_frames_without_a_monitor_are_named_and_not_valid(detector_file, frames, poni):
    monitor = np.linspace(90.0, 110.0, 21)
    monitor[[3, 5, 8, 13]] = np.nan, 0.0, -1.0, np.inf
    report = integrate_scan(detector_file, recipe(poni, monitor="i0", monitor_reference=100.0), columns={"i0": monitor})
    (problem,) = report.problems
    assert "4 of 21 frames have a monitor 'i0' that is no number above 0" in problem
    assert problem.endswith("frame 3; frame 5; frame 8; and 1 more")
    assert known_state(report.output)[0::2] == (INCOMPLETE, 1)
    patterns = read_patterns(report.output)
    good = np.isfinite(monitor) & (monitor > 0)
    assert np.array_equal(patterns.columns["valid"] == 1, good)
    wanted = expected(poni, frames[good]).intensity / (monitor[good, None] / 100)
    assert np.allclose(patterns.intensity[good], wanted, rtol=1e-6, equal_nan=True)
    assert np.isnan(patterns.intensity[~good]).all()


def test_rows_choose_what_is_integrated(detector_file, frames, poni):
    report = integrate_scan(detector_file, recipe(poni), rows=[(2, 5), (10, 11)])
    patterns = read_patterns(report.output)
    assert list(patterns.index) == [2, 3, 4, 10]
    assert np.array_equal(
        patterns.intensity, expected(poni, frames).intensity[[2, 3, 4, 10]].astype("f4"), equal_nan=True
    )


def test_a_damaged_frame_is_named_and_the_rest_is_integrated(detector_file, frames, poni):
    with h5py.File(detector_file) as file:
        place = file["/entry/instrument/pilatus/data"].id.get_chunk_info(4)
    with detector_file.open("r+b") as raw:
        raw.seek(place.byte_offset + 14)
        raw.write(b"\xff" * (place.size - 20))
    report = integrate_scan(detector_file, recipe(poni))
    assert list(report.errors) == [4]
    assert "frame 4 cannot be read" in report.errors[4]
    assert report.problems == [
        f"{report.output}: 1 of 21 frames could not be read, and their patterns are NaN: frame 4: {report.errors[4]}"
    ]
    assert known_state(report.output)[0::2] == (INCOMPLETE, 1)
    patterns = read_patterns(report.output)
    assert np.isnan(patterns.intensity[4]).all()
    assert list(patterns.columns["valid"]) == [1] * 4 + [0] + [1] * 16
    others = np.arange(21) != 4
    wanted = expected(poni, frames).intensity.astype("f4")
    assert np.array_equal(patterns.intensity[others], wanted[others], equal_nan=True)


def test_a_stack_of_darks_has_the_variance_of_its_mean(detector_file, frames, poni, tmp_path):
    stack = np.random.default_rng(1).poisson(3, (8, *SHAPE)).astype(float)
    np.save(tmp_path / "darks.npy", stack)
    found = read_patterns(integrate_scan(detector_file, recipe(poni, dark=str(tmp_path / "darks.npy"))).output)
    wanted = expected(poni, frames, dark=stack.mean(axis=0), dark_frames=8)
    assert np.array_equal(found.sigma, wanted.sigma.astype("f4"), equal_nan=True)


def test_a_matrix_that_was_kept_without_the_dark_does_not_let_its_bad_pixels_count(
    detector_file, frames, poni, tmp_path
):
    integrate_scan(detector_file, recipe(poni))
    dark = np.zeros(SHAPE)
    dark[40:50] = np.nan
    np.save(tmp_path / "dark.npy", dark)
    found = read_patterns(
        integrate_scan(detector_file, recipe(poni, dark=str(tmp_path / "dark.npy")), tmp_path / "d.h5").output
    )
    wanted = expected(poni, frames, dark=dark, mask=np.isnan(dark))
    assert np.array_equal(found.intensity, wanted.intensity.astype("f4"), equal_nan=True)


def test_the_detectors_own_mask_counts(detector_file, frames, poni):
    mask = np.zeros(SHAPE, np.uint32)
    mask[:, :40] = 1
    with h5py.File(detector_file, "r+") as file:
        file["/entry/instrument/pilatus/pixel_mask"] = mask
    patterns = read_patterns(integrate_scan(detector_file, recipe(poni)).output)
    assert np.array_equal(
        patterns.intensity, expected(poni, frames, mask=mask != 0).intensity.astype("f4"), equal_nan=True
    )


def test_nothing_is_replaced_unless_it_is_the_runs_own(detector_file, poni):
    info = ScanInfo(run_uid="one")
    integrate_scan(detector_file, recipe(poni), info=info)
    with pytest.raises(StorageError, match="exists already"):
        integrate_scan(detector_file, recipe(poni), info=info)
    integrate_scan(detector_file, recipe(poni, radial_bins=30), info=info, if_exists="replace")
    assert read_patterns(output_path(detector_file)).intensity.shape == (21, 30)
    with pytest.raises(StorageError, match="belongs to run one"):
        integrate_scan(detector_file, recipe(poni), info=ScanInfo(run_uid="two"), if_exists="replace")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"poni": "missing.poni"}, CalibrationError, "missing.poni cannot be read"),
        ({"mask": "missing.npy"}, StorageError, "missing.npy does not exist"),
        ({"unit": "furlong"}, CalibrationError, "unit 'furlong' must be one of"),
        ({"orientation": 7}, SettingsError, "'orientation' = 7"),
        ({"colour": "red"}, SettingsError, "'colour' = 'red'"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused_before_anything_is_written(
    detector_file, poni, change, error, message
):
    with pytest.raises(error, match=message):
        integrate_scan(detector_file, {**recipe(poni), **change})
    assert not output_path(detector_file).exists()


def test_a_calibration_for_another_detector_is_refused(detector_file, poni):
    poni.write_text(poni.read_text().replace("[97, 83]", "[1043, 981]"))
    with pytest.raises(CalibrationError, match=r"calibration\.poni: .*is for images of shape \(1043, 981\)"):
        integrate_scan(detector_file, recipe(poni))


@pytest.mark.parametrize(
    ("mask", "message"),
    [(np.zeros((83, 97), bool), r"mask\.npy has shape \(83, 97\)"), (np.ones(SHAPE, np.int8), "leaves no pixel")],
)
def test_a_mask_that_does_not_fit_is_refused(detector_file, poni, tmp_path, mask, message):
    np.save(tmp_path / "mask.npy", mask)
    with pytest.raises(CalibrationError, match=message):
        integrate_scan(detector_file, recipe(poni, mask=str(tmp_path / "mask.npy")))


def test_a_detector_file_without_frames_is_named(tmp_path, poni):
    write(tmp_path / "scan.h5", np.zeros((0, *SHAPE), np.int32), chunks=(1, *SHAPE), maxshape=(None, *SHAPE))
    with pytest.raises(AcquisitionError, match="holds no frame"):
        integrate_scan(tmp_path / "scan.h5", recipe(poni), dataset="/entry/instrument/pilatus/data")


def test_a_recipe_comes_back_from_json(poni):
    settings = recipe_settings(recipe(poni, sectors=[[0, 10], [90, 100]], clip_sigma=5))
    assert recipe_settings(settings.model_dump(mode="json")) == settings
