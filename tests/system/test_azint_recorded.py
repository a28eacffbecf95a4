"""A real CeO2 exposure, from a detector file to a file of patterns."""

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.peaks import peak_position_errors
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.oracle import judge

WAVELENGTH_M = 0.4066e-10


@pytest.fixture(scope="module")
def detector_file(recorded_data, tmp_path_factory):
    image = fabio.open(str(recorded_data / "powder" / "CeO2_Pilatus1M.tif")).data
    folder = tmp_path_factory.mktemp("visit") / "raw" / "ceria"
    folder.mkdir(parents=True)
    path = folder / "scan-0001_pilatus.h5"
    with h5py.File(path, "w", libver="latest") as file:
        frames = file.create_dataset(
            "/entry/instrument/pilatus/data",
            (3, *image.shape),
            "i4",
            chunks=(1, *image.shape),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        for index in range(3):
            frames[index] = image
    return path


@pytest.fixture(scope="module")
def report(detector_file, recorded_data):
    recipe = {"poni": recorded_data / "powder" / "CeO2_Pilatus1M.poni", "orientation": 2, "unit": "2th_deg"}
    return integrate_scan(detector_file, recipe)


def test_fifteen_lines_lie_within_a_hundredth_of_a_degree(report):
    patterns = read_patterns(report.output)
    peaks = peak_position_errors(patterns.radial_axis, patterns.intensity.mean(axis=0), "CeO2", WAVELENGTH_M)
    assert sum(abs(peak.error_deg) <= 0.01 for peak in peaks) >= 15
    assert np.median([abs(peak.error_deg) for peak in peaks]) < 0.005


def test_as_the_image_is_stored_almost_no_line_is_where_it_should_be(detector_file, recorded_data, tmp_path):
    recipe = {"poni": recorded_data / "powder" / "CeO2_Pilatus1M.poni", "orientation": 3, "unit": "2th_deg"}
    patterns = read_patterns(integrate_scan(detector_file, recipe, tmp_path / "wrong.h5").output)
    peaks = peak_position_errors(patterns.radial_axis, patterns.intensity[0], "CeO2", WAVELENGTH_M)
    assert sum(abs(peak.error_deg) <= 0.01 for peak in peaks) < 3


def test_the_patterns_lie_where_the_scan_says_and_open_by_default(report, detector_file):
    expected = detector_file.parents[2] / "process" / "azint" / "ceria" / "scan-0001_pilatus_integrated.h5"
    assert report.output == expected
    with h5py.File(report.output) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data[data.attrs["signal"]].shape == (3, 3000)
        assert data["I_errors"].shape == (3, 3000)
        assert entry["definition"].asstr()[()] == "NXazint1d"


def test_every_parameter_is_on_record(report, recorded_data):
    with h5py.File(report.output) as file:
        given = file["entry/reduction/input"]
        assert given["poni"].asstr()[()] == (recorded_data / "powder" / "CeO2_Pilatus1M.poni").read_text()
        assert given["poni"].attrs["filename"].endswith("CeO2_Pilatus1M.poni")
        assert given["orientation"][()] == 2
        assert given["unit"].asstr()[()] == "2th"
        assert given["pyfai_unit"].asstr()[()] == "2th_deg"
        assert given["mask"].shape == (1043, 981)
        assert given["wavelength"][()] == pytest.approx(0.4066)
        assert given["polarization_factor"][()] == pytest.approx(0.999997)


def test_negative_pixels_never_count(report):
    patterns = read_patterns(report.output)
    assert (patterns.columns["masked_pixels"] == 73560).all()
    assert np.nanmin(patterns.intensity) >= 0


@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize(
    ("error_model", "weighting", "azimuth_bins"),
    [("poisson", "pyfai", 1), ("pyfai-poisson", "azint", 1), ("poisson", "pyfai", 24)],
)
def test_the_recorded_frame_gives_pyfais_intensities_and_errors(
    recorded_data, splitting, error_model, weighting, azimuth_bins
):
    image = fabio.open(str(recorded_data / "powder" / "CeO2_Pilatus1M.tif")).data.astype(np.int32)
    poni = (recorded_data / "powder" / "CeO2_Pilatus1M.poni").read_text()
    geometry = geometry_of_poni(poni, image.shape, orientation=2)
    binning = {"unit": "2th_deg", "radial_bins": 1000, "azimuth_bins": azimuth_bins, "splitting": splitting}
    verdict = judge(Recipe(geometry, mask=image < 0, error_model=error_model, weighting=weighting, **binning), image)
    assert verdict.intensity <= 1e-6
    assert verdict.sigma <= 1e-6
    assert verdict.bins > 0.5 * 1000 * azimuth_bins
