from pathlib import Path

import pytest

from danmax_bluesky.config import load_settings, setting_keys
from danmax_bluesky.errors import SettingsError


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    import os

    for variable in [name for name in os.environ if name.startswith("DANMAX_") and name != "DANMAX_TEST_DATA"]:
        monkeypatch.delenv(variable)


def test_the_default_needs_no_file():
    settings = load_settings()
    assert settings.beamline == "twin"
    assert settings.rotation in settings.motors


def test_option_wins_over_environment_and_environment_over_file(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    file.write_text('proposal = "from-file"\nvisit = "from-file"\nfolder = "from-file"\n')
    monkeypatch.setenv("DANMAX_VISIT", "from-environment")
    monkeypatch.setenv("DANMAX_FOLDER", "from-environment")
    settings = load_settings(file, {"folder": "from-option"})
    assert (settings.proposal, settings.visit, settings.folder) == ("from-file", "from-environment", "from-option")


def test_yaml_is_read_too_and_a_partial_detector_keeps_its_defaults(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("detectors:\n  orca:\n    width: 2048\n    height: 512\n")
    orca = load_settings(file).detectors["orca"]
    assert (orca.width, orca.height, orca.kind) == (2048, 512, "imaging")


def test_nested_environment_variable(monkeypatch):
    monkeypatch.setenv("DANMAX_TWIN__SEED", "42")
    assert load_settings().twin.seed == 42


def test_a_proposal_of_digits_keeps_its_leading_zero(monkeypatch):
    monkeypatch.setenv("DANMAX_PROPOSAL", "0012")
    assert load_settings().proposal == "0012"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"data_rot": "x"}, ["'data_rot'", "'x'", "did you mean 'data_root'?"]),
        ({"twin.sed": 3}, ["'twin.sed'", "3", "did you mean 'seed'?"]),
        ({"detectors.orca.wdth": 3}, ["'detectors.orca.wdth'", "did you mean 'width'?"]),
        ({"twin.seed": -1}, ["'twin.seed'", "-1", "greater than or equal to 0"]),
        ({"twin.clock": "slow"}, ["'twin.clock'", "'slow'", "'real' or 'fast'"]),
        ({"folder": "../x"}, ["'folder'", "'../x'", "below raw/"]),
        ({"proposal": "a/b"}, ["'proposal'", "'a/b'", "one folder name"]),
        ({"rotation": "tom_rz"}, ["'tom_rz'", "none of the motors", "tom_ry"]),
        ({"motors.tom_ry.position": 99999}, ["99999", "must lie within"]),
        ({"flat_position": {"nowhere": 1}}, ["flat_position", "'nowhere'", "none of the motors"]),
        ({"recipes": [{"name": "../x"}]}, ["'recipes.0.name'", "'../x'", "part of a file name"]),
        ({"recipes": [{"name": "a/b"}]}, ["'recipes.0.name'", "'a/b'", "part of a file name"]),
        ({"recipes": [{"name": ""}]}, ["'recipes.0.name'", "part of a file name"]),
        ({"recipes": [{}, {"unit": "2th_deg"}]}, ["'pilatus'", "'azint'", "a name of its own"]),
    ],
)
def test_a_wrong_entry_is_answered_with_key_value_and_what_is_allowed(options, told):
    with pytest.raises(SettingsError) as error:
        load_settings(options=options)
    for text in told:
        assert text in str(error.value)


def test_where_the_sample_is_out_of_the_beam_is_known_of_the_twin_alone():
    assert load_settings().flat_position == {"tom_sam_x": 20.0}
    assert load_settings(options={"beamline": "danmax"}).flat_position == {}
    assert load_settings(options={"beamline": "danmax", "flat_position.tom_sam_y": 9}).flat_position == {"tom_sam_y": 9}


def test_recipes_of_two_detectors_may_have_one_name():
    assert len(load_settings(options={"recipes": [{}, {"detector": "orca"}]}).recipes) == 2


def test_an_unknown_environment_variable_is_told_by_its_name(monkeypatch):
    monkeypatch.setenv("DANMAX_DATA_ROOTT", "/tmp")
    with pytest.raises(SettingsError, match="environment variable DANMAX_DATA_ROOTT"):
        load_settings()


@pytest.mark.parametrize(("name", "text"), [("s.toml", "x = = 1"), ("s.yaml", "a: [1"), ("s.yaml", "- 1")])
def test_a_file_that_is_no_settings_file_is_told(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=name):
        load_settings(tmp_path / name)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(tmp_path / "none.toml")


def test_a_word_that_yaml_takes_for_a_truth_value_stays_a_word(monkeypatch):
    monkeypatch.setenv("DANMAX_CATALOG__KIND", "off")
    monkeypatch.setenv("DANMAX_FORMATS__INTEGRATE", "false")
    settings = load_settings()
    assert (settings.catalog.kind, settings.formats.integrate) == ("off", False)


def test_every_key_that_is_listed_can_be_set_to_its_own_value():
    settings = load_settings()
    for key, _ in setting_keys():
        value = settings
        for part in key.split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        assert load_settings(options={key: value}) == settings


def test_the_data_root_is_absolute():
    assert load_settings(options={"data_root": "here"}).data_root == Path("here").absolute()


def test_a_prefix_that_ends_with_a_colon_is_text(monkeypatch):
    monkeypatch.setenv("DANMAX_PANDA", "DANMAX-PANDA:")
    settings = load_settings(options={"twin.recorded_powder": "null", "flat_position": "{tom_sam_x: 3}"})
    assert (settings.panda, settings.flat_position) == ("DANMAX-PANDA:", {"tom_sam_x": 3.0})


def test_an_entry_of_the_snapshot_changes_only_what_it_names():
    settings = load_settings(options={"snapshot.hdcm_energy.address": "a/b/c/Energy", "snapshot.bench.units": "mm"})
    assert settings.snapshot["hdcm_energy"].units == "eV"
    assert settings.snapshot["hdcm_energy"].address == "a/b/c/Energy"
    assert settings.snapshot["bench"].units == "mm"
    assert "Spinner moving" in settings.snapshot


def test_settings_of_another_session_give_way_to_everything_that_is_said_now(tmp_path, monkeypatch):
    former = load_settings(options={"twin.seed": 7, "twin.clock": "fast", "detectors.orca.width": 96, "sample": "bone"})
    base = former.model_dump(mode="json")
    assert load_settings(base=base) == former
    file = tmp_path / "now.toml"
    file.write_text("[twin]\nseed = 8\n")
    monkeypatch.setenv("DANMAX_SAMPLE", "tooth")
    now = load_settings(file, {"detectors.orca.height": 32}, base)
    assert (now.twin.seed, now.twin.clock, now.sample) == (8, "fast", "tooth")
    assert (now.detectors["orca"].width, now.detectors["orca"].height) == (96, 32)
    with pytest.raises(SettingsError, match="as recorded"):
        load_settings(base={"colour": "blue"})


def test_a_secret_is_shown_nowhere():
    settings = load_settings(options={"catalog.api_key": "K3Y", "catalog.uri": "http://localhost:8000/api/v1"})
    assert settings.catalog.api_key.get_secret_value() == "K3Y"
    assert load_settings(options={"catalog.api_key": "12345"}).catalog.api_key.get_secret_value() == "12345"
    assert "K3Y" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


@pytest.mark.parametrize("uri", ["http://me:K3Y@localhost/api/v1", "http://localhost/api/v1?api_key=K3Y"])
def test_an_address_holds_no_secret_and_the_message_does_not_show_it(uri):
    with pytest.raises(SettingsError, match=r"'catalog\.uri'.* give it as catalog\.api_key") as caught:
        load_settings(options={"catalog.uri": uri})
    assert "K3Y" not in str(caught.value)


def test_one_folder_or_several_are_named():
    assert load_settings(options={"storage.roots": "/disk"}).storage.roots == (Path("/disk"),)
    assert load_settings(options={"storage.roots": "[/a, /b]"}).storage.roots == (Path("/a"), Path("/b"))


@pytest.mark.parametrize("name", ["12", "1.5", "true", "null", "2026.10", "0012", "off", "1e3", "[x]", "a: b"])
def test_a_name_that_looks_like_something_else_is_a_name(name, monkeypatch, tmp_path):
    assert load_settings(options={"sample": name}).sample == name
    monkeypatch.setenv("DANMAX_SAMPLE", name)
    assert load_settings().sample == name
    monkeypatch.delenv("DANMAX_SAMPLE")
    if name not in ("null", "[x]", "a: b"):
        file = tmp_path / "s.yaml"
        file.write_text(f"sample: {name}\n")
        assert load_settings(file).sample == name


@pytest.mark.parametrize(("key", "value"), [("visit", "2026.10"), ("folder", "2026-13-45"), ("folder", "12")])
def test_a_visit_and_a_folder_may_look_like_a_number_or_a_date(key, value):
    assert getattr(load_settings(options={key: value}), key) == value


def test_a_number_in_toml_is_a_name_only_if_it_is_whole(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("sample = 12\n")
    assert load_settings(file).sample == "12"
    file.write_text("visit = 2026.10\n")
    with pytest.raises(SettingsError, match=r"'visit'.* = 2026\.1: is not a text in the file; write it in quotes"):
        load_settings(file)


@pytest.mark.parametrize(
    "options", [{"folder": "a/../b"}, {"visit": "a b"}, {"twin.seed": "x"}, {"motors.tom_ry.velocity": "nan"}]
)
def test_a_wrong_setting_gives_one_true_line(options):
    with pytest.raises(SettingsError) as error:
        load_settings(options=options)
    assert len(str(error.value).splitlines()) == 1
    assert "Undefined" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"detectors.panda.kind": "imaging"}, "detectors: 'panda' is the name of another device"),
        ({"detectors.a/b.kind": "imaging"}, "detectors: 'a/b' cannot be the name of a device"),
        ({"detectors.a_dxchange.kind": "imaging"}, "detectors: 'a_dxchange' cannot be: other files of a scan end in"),
        ({"detectors.tom_ry.kind": "imaging"}, "detectors: 'tom_ry' stands among the motors too"),
        ({"counters.orca.address": "a/b/c/V"}, "counters: 'orca' stands among the detectors too"),
        ({"snapshot.a/b.units": "mm"}, "snapshot: 'a/b' cannot be the name of a value"),
    ],
)
def test_a_name_that_no_device_can_have_is_refused(options, told):
    with pytest.raises(SettingsError, match=told):
        load_settings(options=options)


def test_a_motor_takes_the_place_of_a_value_of_the_snapshot():
    settings = load_settings(options={"motors": {"hex_x": {"units": "mm"}}})
    assert "hex_x" in settings.motors
    assert "hex_x" not in settings.snapshot
    assert "hex_y" in settings.snapshot


def test_the_home_of_a_user_who_is_not_there_is_named():
    with pytest.raises(SettingsError, match=r"twin\.poni.*~nobody_of_this_name is the home of nobody"):
        load_settings(options={"twin.poni": "~nobody_of_this_name/cal.poni"})
