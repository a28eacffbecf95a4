import os
import subprocess
import sys
from pathlib import Path

import pytest

from danmax_bluesky.config import CatalogSettings, Settings
from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.directory import CatalogPlace, KnownRun, ServerAddress, place_of


@pytest.fixture
def place(tmp_path):
    place = CatalogPlace(tmp_path / "catalogue")
    place.create()
    return place


def test_runs_are_known_once_in_the_order_in_which_they_were_announced(place):
    place.announce("b", Path("/raw/2.jsonl"))
    place.announce("a", Path("/raw/1.jsonl"))
    place.announce("b", Path("/raw/2.jsonl"))
    assert place.known_runs() == [KnownRun("b", Path("/raw/2.jsonl")), KnownRun("a", Path("/raw/1.jsonl"))]


def test_a_torn_line_is_left_out(place):
    place.announce("a", Path("/raw/1.jsonl"))
    with place.runs.open("a") as stream:
        stream.write('{"uid": "b", "jour')
    assert [run.uid for run in place.known_runs()] == ["a"]


def test_a_line_after_a_torn_one_is_read(place):
    with place.runs.open("a") as stream:
        stream.write('{"uid": "b", "jour')
    place.announce("a", Path("/raw/1.jsonl"))
    assert [run.uid for run in place.known_runs()] == ["a"]


def test_outcomes_are_kept_for_each_target(place, tmp_path):
    remote = CatalogPlace(tmp_path / "catalogue", "https://tiled.example.org:8000/api/v1/danmax")
    place.note_delivered("a")
    remote.note_delivered("b", "refused")
    assert place.outcomes() == {"a": "whole"}
    assert remote.outcomes() == {"b": "refused"}


def test_the_secret_stays_the_same_and_is_for_its_owner_alone(place):
    secret = place.api_key()
    assert len(secret) == 64
    assert place.api_key() == secret
    assert (place.directory / "api_key").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(place.directory)) == ["api_key", "sessions.lock"]


def test_a_folder_that_cannot_be_made_is_named_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match=r"file/catalogue cannot be written to .*--data-root"):
        CatalogPlace(tmp_path / "file" / "catalogue").create()


def test_sessions_share_their_lock_and_a_feeder_does_not(place):
    first, second, feeder = place.sessions, place.sessions, place.sessions
    first.share()
    second.share()
    assert not feeder.acquire()
    first.release()
    assert not place.sessions.is_free
    second.release()
    assert place.sessions.is_free
    assert feeder.acquire()
    assert not place.sessions.acquire()
    feeder.release()


def test_the_lock_of_a_process_that_died_is_free(place):
    program = (
        "import os; from pathlib import Path; from danmax_bluesky.pipelines.catalog.directory import Lock\n"
        f"lock = Lock(Path({str(place.directory / 'sessions.lock')!r})); lock.share(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert place.sessions.is_free


def test_the_address_of_the_server_is_remembered(place):
    assert place.server() is None
    address = place.new_address(41234)
    place.note_server(address)
    assert place.server() == address
    assert address.port == 41234
    assert address.pid == os.getpid()


def test_the_place_follows_from_the_settings(tmp_path):
    settings = Settings(data_root=tmp_path)
    assert place_of(settings) == CatalogPlace(tmp_path / ".catalog", "embedded")
    remote = CatalogSettings(kind="remote", uri="https://tiled.example.org")
    assert place_of(Settings(data_root=tmp_path, catalog=remote)).target == "https://tiled.example.org"


@pytest.mark.parametrize(("kind", "text"), [("remote", "catalog.uri is empty"), ("off", "there is no catalogue")])
def test_settings_without_a_catalogue_say_so(tmp_path, kind, text):
    with pytest.raises(CatalogError, match=text):
        place_of(Settings(data_root=tmp_path, catalog=CatalogSettings(kind=kind)))


@pytest.mark.parametrize(
    "uri", ["http://evil.example/api/v1/", "http://127.0.0.1:80@evil.example/api/v1/", "http://127.0.0.1:1/x"]
)
def test_the_secret_is_sent_to_no_address_but_one_of_this_machine(place, uri):
    place.note_server(ServerAddress(uri, 1, "here"))
    assert place.server() is None


def test_an_address_that_another_user_wrote_does_not_count(place, monkeypatch):
    place.note_server(place.new_address(41234))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert place.server() is None


def test_locks_and_lists_are_not_reached_through_links(place, tmp_path):
    (tmp_path / "precious").write_text("precious")
    for path, use in [
        (place.directory / "feeder-embedded.lock", place.feeder.acquire),
        (place.runs, lambda: place.announce("uid", tmp_path)),
    ]:
        path.symlink_to(tmp_path / "precious")
        with pytest.raises(OSError, match="symbolic links"):
            use()
    assert (tmp_path / "precious").read_text() == "precious"
