import fabio.tifimage
import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.twin.sources.base import DEAD, GAP, Gate, camera_config
from danmax_bluesky.twin.sources.recorded import (
    RecordedImage,
    RecordedTomography,
    nearest,
    recorded_angles_deg,
    recorded_shape,
)

HEIGHT, WIDTH = 3, 5


def gate(angle_deg=0.0, is_open=True, x_mm=0.0, beam=1.0):
    return Gate(0, 10_000_000, 0, angle_deg, int(is_open), x_mm, 0.0, 0.0, beam, 0)


def tomography(path, height=HEIGHT, width=WIDTH):
    entries = {"kind": "imaging", "name": "orca", "width": width, "height": height, "pixel_size_m": 1e-6}
    return RecordedTomography(camera_config({**entries, "recorded": str(path)}))


def frames(number, level):
    return np.arange(number, dtype="f4")[:, None, None] + np.full((HEIGHT, WIDTH), level + 0.25, "f4")


@pytest.fixture
def dxchange(tmp_path):
    path = tmp_path / "recording.h5"
    with h5py.File(path, "w") as file:
        file["exchange/data"] = frames(4, 1000)
        file["exchange/data_white"] = frames(2, 2000)
        file["exchange/data_dark"] = frames(3, 100)
        file["exchange/theta"] = [0.0, 45.0, 90.0, 135.0]
    return path


@pytest.fixture
def nexus(tmp_path):
    """As beamlines write them: data by external links, some of which lead nowhere, and frames in the order measured."""
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["entry/detector/detector"] = np.concatenate([frames(2, 2000), frames(1, 100), frames(3, 1000)]).astype(
            "u2"
        )
        file["entry/angle"] = [90.0, 90.0, 90.0, 100.0, 180.0, 260.0]
    path = tmp_path / "recording.nxs"
    with h5py.File(path, "w") as file:
        file["entry/monitor/data"] = h5py.ExternalLink("absent.h5", "/entry/data")
        file["entry/camera/data"] = h5py.ExternalLink("frames.h5", "/entry/detector/detector")
        file["entry/camera/stage_theta"] = h5py.ExternalLink("frames.h5", "/entry/angle")
        file["entry/camera/stage_theta_set"] = h5py.ExternalLink("frames.h5", "/entry/absent")
        file["entry/instrument/camera/image_key"] = [1, 1, 2, 0, 0, 0]
        file["entry/instrument/stage/other_theta"] = [1.0, 2.0]
    return path


def test_every_projection_comes_back_at_its_angle_rounded_to_16_bits(dxchange):
    source = tomography(dxchange)
    for turn_deg in (0, 360, -720, 10):
        replayed = [source.frame(gate(angle + turn_deg))[0, 0] for angle in (0, 45, 90, 135)]
        assert replayed == [1000, 1001, 1002, 1003]
    assert source.frame(gate()).dtype == np.uint16
    assert source.frame(gate()).shape == (HEIGHT, WIDTH)


def test_darks_and_flats_come_in_order_and_begin_again(dxchange):
    source = tomography(dxchange)
    assert [source.frame(gate(is_open=False))[0, 0] for _ in range(5)] == [100, 101, 102, 100, 101]
    assert [source.frame(gate(x_mm=20.0))[0, 0] for _ in range(3)] == [2000, 2001, 2000]
    assert source.frame(gate(beam=0.0))[0, 0] == 102
    source.restart()
    assert source.frame(gate(is_open=False))[0, 0] == 100
    assert source.frame(gate(x_mm=-20.0))[0, 0] == 2000


def test_a_nexus_recording_is_read_through_its_links(nexus):
    source = tomography(nexus)
    assert recorded_shape(nexus) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(recorded_angles_deg(nexus), [100.0, 180.0, 260.0])
    assert [source.frame(gate(angle))[0, 0] for angle in (100, 185, 250, -90)] == [1000, 1001, 1002, 1002]
    assert source.frame(gate(is_open=False))[0, 0] == 100
    assert source.frame(gate(x_mm=20.0))[0, 0] == 2000


@pytest.mark.parametrize(
    ("angle_deg", "position"),
    [(0.0, 0), (22.0, 0), (23.0, 1), (359.0, 0), (-1.0, 0), (450.0, 2), (1000.0, 0), (-315.0, 1)],
)
def test_angles_are_compared_whole_turns_apart(angle_deg, position):
    assert nearest(np.array([0.0, 45.0, 90.0]), angle_deg) == position


def test_a_recording_of_several_turns_is_followed_turn_by_turn():
    angles_deg = np.arange(0.0, 1080.0, 10.0)
    assert [nearest(angles_deg, angle) for angle in (20.0, 380.0, 741.0, 1100.0)] == [2, 38, 74, 74]


def test_the_detector_must_have_the_size_of_the_recording(dxchange):
    with pytest.raises(FormatError, match=r"\(3, 5\) pixels .*set to \(3, 6\)"):
        tomography(dxchange, width=6)


def test_a_file_that_is_no_tomography_is_refused_with_what_is_missing(tmp_path, dxchange):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["entry/data"] = np.zeros((2, 3, 4))
    with pytest.raises(FormatError, match="found no image_key, angles"):
        recorded_shape(path)
    with h5py.File(dxchange, "a") as file:
        del file["exchange/theta"]
    with pytest.raises(FormatError, match="without exchange/theta"):
        recorded_shape(dxchange)
    with pytest.raises(StorageError, match=r"absent\.h5 cannot be opened"):
        recorded_shape(tmp_path / "absent.h5")
    with pytest.raises(StorageError, match=r"absent\.tif cannot be read"):
        recorded_shape(tmp_path / "absent.tif")


def test_a_recording_without_darks_is_refused(nexus):
    with h5py.File(nexus, "a") as file:
        file["entry/instrument/camera/image_key"][2] = 1
    with pytest.raises(FormatError, match="holds no darks"):
        recorded_shape(nexus)


@pytest.fixture
def image(tmp_path):
    data = np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH)
    data[1] = -1
    data[2, 3] = -2
    path = tmp_path / "image.tif"
    fabio.tifimage.TifImage(data).write(str(path))
    return path, data


def counting(path):
    entries = {"kind": "counting", "name": "pilatus", "width": WIDTH, "height": HEIGHT, "pixel_size_m": 1e-4}
    return RecordedImage(camera_config({**entries, "recorded": str(path)}))


def test_an_image_is_replayed_as_it_was_recorded(image):
    path, data = image
    source = counting(path)
    assert recorded_shape(path) == (HEIGHT, WIDTH)
    for _ in range(2):
        np.testing.assert_array_equal(source.frame(gate()), data)
    assert source.frame(gate()).dtype == np.int32
    np.testing.assert_array_equal(source.pixel_mask == GAP, data == -1)
    np.testing.assert_array_equal(source.pixel_mask == DEAD, data == -2)


def test_without_light_or_sample_an_image_keeps_its_gaps_alone(image):
    path, data = image
    source = counting(path)
    for dark in (gate(is_open=False), gate(beam=0.0), gate(x_mm=20.0)):
        np.testing.assert_array_equal(source.frame(dark), np.minimum(data, 0))


def test_the_tooth_comes_back(recorded_data):
    path = recorded_data / "tomography" / "tooth.h5"
    height, width = recorded_shape(path)
    source = tomography(path, height, width)
    with h5py.File(path) as file:
        for kind, made in (
            ("data", [source.frame(gate(angle)) for angle in recorded_angles_deg(path)]),
            ("data_white", [source.frame(gate(x_mm=20.0)) for _ in range(10)]),
            ("data_dark", [source.frame(gate(is_open=False)) for _ in range(10)]),
        ):
            np.testing.assert_array_equal(made, np.rint(file["exchange"][kind][()]))


def test_the_fly_scan_of_k11_comes_back(recorded_data):
    path = recorded_data / "tomography" / "k11-18014.nxs"
    source = tomography(path, *recorded_shape(path))
    angles_deg = recorded_angles_deg(path)
    assert len(angles_deg) == 3001
    with h5py.File(path) as file:
        recorded = file["entry/imaging/data"][()]
    for position in range(0, 3001, 100):
        np.testing.assert_array_equal(source.frame(gate(angles_deg[position])), recorded[100 + position])
    for position in range(100):
        expected = recorded[50 + position if position < 50 else 3151 + position - 50]
        np.testing.assert_array_equal(source.frame(gate(is_open=False)), expected)


def test_the_exposure_of_ceria_comes_back(recorded_data):
    path = recorded_data / "powder" / "CeO2_Pilatus1M.tif"
    height, width = recorded_shape(path)
    entries = {"kind": "counting", "name": "pilatus", "width": width, "height": height, "pixel_size_m": 172e-6}
    source = RecordedImage(camera_config({**entries, "recorded": str(path)}))
    assert (source.frame(gate()) == -1).sum() == 73533
    assert (source.pixel_mask == DEAD).sum() == 27
