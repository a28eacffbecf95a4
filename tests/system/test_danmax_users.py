"""What DanMAX's own notebooks and their library read from our files, read as they do: masters, titles, arrays, maps.

The functions below are written from what is known of theirs: which files they take for masters, how they take a title
apart, and which paths they read in a master.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.testing.scanning import measured

NO_MASTERS = ("pilatus.h5", "_falconx.h5", "_orca.h5", "_dxchange.h5", "_xspress3-dtc-2d")
ENERGY_KEV, BEAM, TRANSMITTED = 35.0, 1e5, 0.6


def masters_below(visit):
    """Every *.h5 below raw/ that has none of the names of other files, the newest first."""
    found = [path for path in (visit / "raw").rglob("*.h5") if not path.name.startswith(".")]
    return sorted((path for path in found if not any(name in path.name for name in NO_MASTERS)), reverse=True)


def master_of_scan(visit, number):
    return next(path for path in masters_below(visit) if f"scan-{number:04d}" in str(path))


def integrated(master):
    return Path(str(master).replace("raw", "process/azint").replace(".h5", "_pilatus_integrated.h5"))


def words_of(master):
    with h5py.File(master) as file:
        title = file["/entry/title"][()].decode()
    return "".join(letter for letter in title if letter not in "()[],").split()


def exposure_of(words):
    places = {"timescan": 2, "ascan": 5, "dscan": 5, "ascanct": 5, "dscanct": 5, "mesh": 9, "meshct": 9}
    return float(words[places[words[0]]])


def motors_of(words):
    """Every word with letters after the first is a motor, but for True and False."""
    lettered = [word for word in words[1:] if any(letter.isalpha() for letter in word)]
    return [word for word in lettered if "true" not in word.lower() and "false" not in word.lower()]


def everything_in(master):
    """All of every array below the children of the instrument; a scalar, a text or a deeper group is an error."""
    with h5py.File(master) as file:
        instrument = file["/entry/instrument"]
        names = [name for name in instrument if name not in ("pilatus", "start_positioners")]
        return {(name, key): instrument[name][key][:] for name in names for key in instrument[name]}


def channel(master, name):
    with h5py.File(master) as file:
        return file[f"/entry/instrument/{name}/data"][:]


def position(master, motor):
    with h5py.File(master) as file:
        return file[f"/entry/instrument/{motor}/value"][:]


def energy_kev(master):
    with h5py.File(master) as file:
        start = file["/entry/instrument/start_positioners"]
        energies = [abs(start[name][()]) for name in ("hdcm_energy", "mlm_energy")]
    return min(energy / 1000 if energy > 1000 else energy for energy in energies)


@dataclass(frozen=True)
class Done:
    """A measurement.

    Attributes:
        title: that it should have.
        exposure_s: of a frame.
        detector: whose rows the arrays have.
        positions: motor -> where it truly was at each frame.
        light: whether the shutter was open at each frame.
        end_s: when each exposure truly ended, seconds.
        master: as users find it by its number.
    """

    title: str
    exposure_s: float
    detector: str
    positions: dict[str, np.ndarray]
    light: np.ndarray
    end_s: np.ndarray
    master: Path


TRUE_COLUMNS = {"tom_ry": "angle_deg", "tom_sam_x": "x_mm", "tom_sam_y": "y_mm"}
TITLES = {
    "count": "timescan 5 0.05 0.0",
    "step scan": "ascan tom_sam_x -1.0 1.0 4 0.02",
    "continuous scan": "ascanct tom_ry 0.0 18.0 9 0.02 0.0",
    "mesh": "mesh tom_sam_x -0.3 0.3 3 tom_sam_y 0.0 0.2 2 0.02",
    "tomography": "ascanct tom_ry 0.0 90.0 9 0.02 0.0",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("users")
    options = {
        "twin.clock": "fast",
        "detectors.pilatus.width": 487,
        "detectors.pilatus.height": 407,
        "recipes": [{"detector": "pilatus", "radial_bins": 100}],
        "formats.reconstruct": False,
        "catalog.kind": "off",
        "data_root": str(root),
    }
    runs = {}
    with make_session(load_settings(options=options)) as session:
        plans = session.plans
        for number, (kind, plan) in enumerate(
            {
                "count": plans.azint_count(6, 0.05),
                "step scan": plans.azint_scan("tom_sam_x", -1, 1, 4, 0.02),
                "continuous scan": plans.azint_scan("tom_ry", 0, 18, 9, 0.02, continuous=True),
                "mesh": plans.mesh("tom_sam_x", -0.3, 0.3, 3, "tom_sam_y", 0, 0.2, 2, 0.02),
                "tomography": plans.tomo_scan(
                    "ascanct", "tom_ry", 0, 90, 9, 0.02, npt_fields=2, fields_flag="110000", configurator=False
                ),
            }.items(),
            1,
        ):
            run = measured(session, plan)
            detector = "orca" if kind == "tomography" else "pilatus"
            truth = run.truth[detector]
            runs[kind] = Done(
                TITLES[kind],
                0.05 if kind == "count" else 0.02,
                detector,
                {name: truth[column] for name, column in TRUE_COLUMNS.items()},
                truth["open"] * truth["beam"],
                truth["end_ns"] * 1e-9,
                master_of_scan(run.files.process.parent, number),
            )
    return runs


@pytest.fixture(params=TITLES)
def one(done, request):
    return done[request.param]


def test_every_scan_is_found_and_nothing_else_is_taken_for_one(done):
    visit = next(iter(done.values())).master.parents[2]
    names = [path.name for path in masters_below(visit)]
    assert names == [f"scan-{number:04d}.h5" for number in range(len(TITLES), 0, -1)]
    assert (visit / "raw/commissioning/scan-0005_panda.hdf5").exists()


def test_the_title_says_what_was_measured(one):
    with h5py.File(one.master) as file:
        assert file["/entry/title"].asstr()[()] == one.title
        assert file["/entry/command"].asstr()[()].split("(")[0] in ("azint_count", "azint_scan", "mesh", "tomo_scan")
    words = words_of(one.master)
    assert exposure_of(words) == one.exposure_s
    assert motors_of(words) == [word for word in one.title.split() if word.startswith("tom_")]


def test_every_array_of_the_instrument_has_a_row_for_each_frame(one):
    rows = len(one.light)
    found = everything_in(one.master)
    assert {len(values) for values in found.values()} == {rows}
    assert len(channel(one.master, one.detector)) == rows


def test_the_beam_before_and_behind_the_sample_stands_beside_each_frame(one):
    np.testing.assert_allclose(channel(one.master, "albaem-xrd_ch2"), BEAM * one.light, rtol=0.06)
    np.testing.assert_allclose(channel(one.master, "albaem-xrd_ch3"), TRANSMITTED * BEAM * one.light, rtol=0.06)


def test_the_time_of_each_frame_is_told(one):
    times = channel(one.master, "pcap_trigts")
    np.testing.assert_allclose(np.diff(times), np.diff(one.end_s), atol=2e-3)


def test_temperatures_and_energy_are_told_for_each_frame_and_at_the_start(one):
    assert set(channel(one.master, "lakeshore_tempC")) == {22.0}
    assert set(channel(one.master, "cryo_temp")) == {295.15}
    assert set(channel(one.master, "hdcm_E")) == {1000 * ENERGY_KEV}
    assert energy_kev(one.master) == ENERGY_KEV


def test_each_motor_of_the_title_stands_where_it_truly_was(one):
    for motor in motors_of(words_of(one.master)):
        np.testing.assert_allclose(position(one.master, motor), one.positions[motor], atol=1e-3)


def test_the_gantry_the_times_and_the_integrated_patterns_are_there(one):
    with h5py.File(one.master) as file:
        start = file["/entry/instrument/start_positioners"]
        units = {name: start[name].attrs["units"] for name in ("lg_x", "lg_y", "lg_z", "lg_rx")}
        assert units == {"lg_x": "mm", "lg_y": "mm", "lg_z": "mm", "lg_rx": "degree"}
        assert file["/entry/start_time"].asstr()[()] < file["/entry/end_time"].asstr()[()]
    if one.detector == "pilatus":
        with h5py.File(integrated(one.master)) as file:
            assert len(file["entry/data/I"]) == len(one.light)


def test_a_map_has_its_pixels_where_they_were_measured(done):
    mesh = done["mesh"]
    words = words_of(mesh.master)
    shape = int(words[8]) + 1, int(words[4]) + 1
    with h5py.File(mesh.master) as file:
        snake = file["/entry/snake"][()]
    assert snake
    for motor, axis in ((words[1], 1), (words[5], 0)):
        picture = position(mesh.master, motor).reshape(shape)
        picture[1::2] = picture[1::2, ::-1]
        first, last, intervals = (float(word) for word in words[words.index(motor) + 1 : words.index(motor) + 4])
        expected = np.linspace(first, last, int(intervals) + 1)
        along = expected[None, :] if axis else expected[:, None]
        np.testing.assert_allclose(picture, np.broadcast_to(along, shape), atol=1e-3)


def test_every_pointer_of_the_masters_leads_somewhere(one):
    assert check_file(one.master) == []
