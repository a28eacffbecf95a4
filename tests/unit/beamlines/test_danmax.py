import pytest

pytest.importorskip("tango")
pytest.importorskip("p4p")

from danmax_bluesky.beamlines.connections import Connections
from danmax_bluesky.beamlines.danmax import make
from danmax_bluesky.config import load_settings

ROTATION_ALONE = {"beamline": "danmax", "panda": "PANDA:", "motors.tom_ry.address": "a/b/rotation"}


@pytest.fixture
def devices_of(monkeypatch, paths):
    """Makes the devices of the settings and connects none."""

    async def nobody(_connections, again=False):
        return {}

    monkeypatch.setattr(Connections, "connect", nobody)

    async def make_devices(**options):
        made = await make(load_settings(options={**ROTATION_ALONE, **options}), paths)
        made.close()
        return made

    return make_devices


async def test_a_detector_behind_lima_is_known_to_begin_anew_with_each_arming(devices_of):
    devices = await devices_of(**{"detectors.pilatus.interface": "lima"})
    assert {name: camera.rearms for name, camera in devices.cameras.items()} == {"orca": True, "pilatus": False}


async def test_motors_arrive_within_the_tolerance_of_the_settings(devices_of):
    energy = {"units": "eV", "low_limit": 0.0, "high_limit": 40000.0, "address": "a/b/energy"}
    devices = await devices_of(**{"motors.energy": energy, "motors.tom_sam_x.tolerance": 0.02})
    tolerances = {name: motor.movable_logic.tolerance for name, motor in devices.motors.items()}
    assert (tolerances["energy"], tolerances["tom_sam_x"], tolerances["tom_ry"]) == (0.5, 0.02, 0.001)
