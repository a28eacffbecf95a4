import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.config.channels import default_channels
from danmax_bluesky.errors import SettingsError


def of_file(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(f"[channels]\n{text}\n")
    return load_settings(path).channels


def test_an_entry_adds_to_the_usual_ones_changes_one_or_takes_it_away(tmp_path):
    found = of_file(tmp_path, 'furnace = "eurotherm_T"\nbeam_monitor = "diode"\nhdcm_energy = false')
    usual = {key: name for key, name in default_channels().items() if key != "hdcm_energy"}
    assert found == {**usual, "furnace": "eurotherm_T", "beam_monitor": "diode"}


def test_an_entry_may_be_an_option():
    assert load_settings(options={"channels.furnace": "eurotherm_T"}).channels["furnace"] == "eurotherm_T"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('i0 = "a/b"', r"channels\.i0: 'a/b' cannot be the name of a channel; write letters, and leave '/' out"),
        ('i0 = ""', r"channels\.i0: '' cannot be the name of a channel"),
        ('i0 = "orca"', r"channels\.i0: 'orca' is the name of a motor, a detector or a snapshot in the master"),
        ('i0 = "tom_sam_x"', "is the name of a motor"),
        ('i0 = "start_positioners"', "is the name of a motor, a detector or a snapshot"),
        ("i0 = 3", r"channels\.i0.* = 3"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_when_the_session_begins(tmp_path, entry, said):
    with pytest.raises(SettingsError, match=said):
        of_file(tmp_path, entry)


def test_a_temperature_that_is_a_motor_keeps_its_own_name(tmp_path):
    motor = {"motors.cryo_temp.units": "K", "motors.cryo_temp.low_limit": 0, "motors.cryo_temp.position": 20}
    assert load_settings(options=motor).channels["cryo_temp"] == "cryo_temp"
