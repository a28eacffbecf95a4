"""The real measurements in the folder named by DANMAX_TEST_DATA, or beside the repository."""

import h5py
import numpy as np
import pytest

from danmax_bluesky.tomography.angles import RECONSTRUCTED, WRAPPED, mid_exposure_angles
from danmax_bluesky.tomography.centre import find_centre
from danmax_bluesky.tomography.direct_fourier import reconstruct_slices, sinogram
from danmax_bluesky.tomography.triggers import EncoderScale


@pytest.fixture(scope="module")
def tooth(recorded_data):
    with h5py.File(recorded_data / "tomography/tooth.h5") as file:
        return tuple(file[f"exchange/{name}"][()] for name in ("data", "data_white", "data_dark", "theta"))


def test_the_axis_of_the_tooth_is_near_column_296(tooth):
    projections, flats, darks, theta = tooth
    found = find_centre(sinogram(projections, flats, darks), theta)
    assert found.method == "wedge"
    assert found.centre_px == pytest.approx(295.8, abs=0.3)


def test_a_slice_of_the_tooth_shows_enamel_dentine_and_pulp(tooth):
    result = reconstruct_slices(*tooth)
    image = result.volume[0]
    air, enamel, dentine, pulp = image[20:60, 300:340], image[225:240, 290:330], image[290:320, 390:405], None
    pulp = image[325:345, 295:310]
    assert enamel.mean() > 1.4 * dentine.mean() > 1.4 * 1.3 * max(abs(air.mean()), abs(pulp.mean()))
    assert air.std() < 0.3 * dentine.mean()


def test_a_wrong_axis_makes_the_tooth_worse(tooth):
    sharpness = {
        centre: np.abs(np.diff(reconstruct_slices(*tooth, centre).volume[0][180:500, 180:480], axis=1)).max(axis=1)
        for centre in (290.0, 295.8, 302.0)
    }
    assert np.median(sharpness[295.8]) > max(np.median(sharpness[290.0]), np.median(sharpness[302.0]))


def test_the_recorded_capture_gives_the_angles(recorded_data):
    table = np.loadtxt(recorded_data / "tomography/danmax-pcap.csv", delimiter=",", skiprows=4)
    result = mid_exposure_angles(EncoderScale(11930463.0, -50.0, 32), np.linspace(0, 180, 11), mean=table[:, 2])
    assert result.angles_deg[7] == pytest.approx(134.79, abs=0.01)
    assert np.flatnonzero(result.flags).tolist() == [7]
    assert result.flags[7] == WRAPPED | RECONSTRUCTED
