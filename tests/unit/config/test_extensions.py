import sys

import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.config.extensions import BEAMLINES, DETECTORS, installed, load_installed
from danmax_bluesky.errors import SettingsError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that adds a beamline and a kind of detector, installed as any other."""
    (tmp_path / "i99.py").write_text("def make(): ...\ndef frelon(): ...\n")
    metadata = tmp_path / "i99-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: i99\nVersion: 1.0\n")
    lines = [f"[{BEAMLINES}]", "i99 = i99:make", "broken = i99:nothing", f"[{DETECTORS}]", "frelon = i99:frelon"]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("i99", None)


def test_a_package_adds_a_beamline_and_a_kind_of_detector(package):
    settings = load_settings(options={"beamline": "i99", "detectors.orca.interface": "frelon"})
    assert load_installed(BEAMLINES, settings.beamline).__module__ == "i99"
    assert load_installed(DETECTORS, settings.detectors["orca"].interface).__name__ == "frelon"


def test_what_is_not_installed_is_one_error_that_lists_what_is(package):
    with pytest.raises(SettingsError) as caught:
        load_settings(options={"beamline": "i98"})
    assert str(caught.value) == (
        "setting 'beamline' (option --beamline) = 'i98': no beamline of this name is installed; there are broken, "
        "danmax, i99, twin. A package adds one as an entry point of the group danmax_bluesky.beamlines"
    )
    with pytest.raises(
        SettingsError, match=r"no detector interface of this .*; there are areadetector, danmax, frelon, l"
    ):
        load_settings(options={"detectors.orca.interface": "frelonn"})


def test_what_is_installed_and_cannot_be_loaded_says_what_to_install(package):
    with pytest.raises(SettingsError, match=r"beamline 'broken' cannot be loaded from i99:nothing .* install its pack"):
        load_installed(BEAMLINES, "broken")


def test_what_is_shipped_can_be_loaded():
    pytest.importorskip("tango")
    for group in (BEAMLINES, DETECTORS):
        for name in installed(group):
            assert callable(load_installed(group, name))


def test_the_devices_of_which_every_beamline_has_one_may_be_called_otherwise():
    names = load_settings(options={"device_names.shutter": "exit_slit"}).device_names
    assert (names.shutter, names.panda) == ("exit_slit", "panda")
    with pytest.raises(SettingsError, match=r"device_names.panda: 'tom ry' cannot be the name of a device"):
        load_settings(options={"device_names.panda": "tom ry"})
    with pytest.raises(SettingsError, match=r"motors: 'exit_slit' is the name of another device"):
        load_settings(options={"device_names.shutter": "exit_slit", "motors.exit_slit.units": "mm"})
