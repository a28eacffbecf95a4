import json

import pytest

from danmax_bluesky.config import changed, load_settings, remember
from danmax_bluesky.errors import SettingsError


@pytest.fixture
def loaded(tmp_path):
    return lambda **options: load_settings(options={"data_root": str(tmp_path), **options})


def place(settings):
    return settings.proposal, settings.visit, settings.folder, settings.sample


def test_what_was_said_last_holds_for_the_sessions_that_follow(loaded):
    remember(loaded(), {"folder": "day2", "sample": "tooth"})
    remember(loaded(), {"folder": "day3"})
    assert place(loaded())[2:] == ("day3", "tooth")


def test_an_option_wins(loaded):
    remember(loaded(), {"folder": "day2"})
    assert loaded(folder="day5").folder == "day5"
    assert loaded().folder == "day2"


def test_settings_that_say_something_else_since_then_win(loaded, tmp_path, monkeypatch):
    remember(loaded(), {"folder": "day2", "sample": "tooth"})
    monkeypatch.setenv("DANMAX_FOLDER", "day7")
    assert place(loaded())[2:] == ("day7", "tooth")
    remember(loaded(), {"folder": "day8"})
    assert loaded().folder == "day8"


def test_another_visit_is_without_the_users_of_the_settings(loaded, tmp_path):
    users = [{"name": "Ada"}]
    remember(loaded(users=users), {"visit": "2026000002"})
    settings = loaded(users=users)
    assert (settings.visit, settings.users) == ("2026000002", ())
    remember(settings, {"folder": "day2"})
    assert place(loaded())[1:3] == ("2026000002", "day2")
    remember(settings, {"visit": "2026000001"})
    assert loaded(users=users).users[0].name == "Ada"


def test_a_measurement_that_is_done_again_goes_where_it_was(loaded, tmp_path):
    settings = loaded()
    remember(settings, {"folder": "day2"})
    again = load_settings(base=settings.model_dump(mode="json"))
    assert again.folder == "commissioning"


def test_a_place_that_may_not_be_is_refused(loaded):
    with pytest.raises(SettingsError, match=r"setting 'folder' = '../x': must be a folder below raw/"):
        changed(loaded(), {"folder": "../x"})


def test_a_damaged_file_is_told_and_one_without_entries_says_nothing(loaded, tmp_path):
    settings = loaded()
    remember(settings, {})
    (path,) = tmp_path.rglob("place.json")
    assert json.loads(path.read_text()) == {}
    assert loaded().folder == settings.folder
    path.write_text("{")
    with pytest.raises(SettingsError, match="move the file away"):
        loaded()
