import os
import subprocess
import sys
from pathlib import Path

import pytest

from danmax_bluesky.config import CatalogSettings, Settings
from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.directory import AnnouncedRun, CatalogFolder, ServerAddress, folder_of


@pytest.fixture
def folder(tmp_path):
    folder = CatalogFolder(tmp_path / "catalogue")
    folder.create()
    return folder


def test_runs_are_known_once_in_the_order_in_which_they_were_announced(folder):
    folder.announce("b", Path("/raw/2.jsonl"))
    folder.announce("a", Path("/raw/1.jsonl"))
    folder.announce("b", Path("/raw/2.jsonl"))
    assert folder.announced_runs() == [AnnouncedRun("b", Path("/raw/2.jsonl")), AnnouncedRun("a", Path("/raw/1.jsonl"))]


def test_a_torn_line_is_left_out(folder):
    folder.announce("a", Path("/raw/1.jsonl"))
    with folder.runs.open("a") as stream:
        stream.write('{"uid": "b", "jour')
    assert [run.uid for run in folder.announced_runs()] == ["a"]


def test_a_line_after_a_torn_one_is_read(folder):
    with folder.runs.open("a") as stream:
        stream.write('{"uid": "b", "jour')
    folder.announce("a", Path("/raw/1.jsonl"))
    assert [run.uid for run in folder.announced_runs()] == ["a"]


def test_outcomes_are_kept_for_each_target(folder, tmp_path):
    remote = CatalogFolder(tmp_path / "catalogue", "https://tiled.example.org:8000/api/v1/danmax")
    folder.note_delivered("a")
    remote.note_delivered("b", "refused")
    assert folder.outcomes() == {"a": "whole"}
    assert remote.outcomes() == {"b": "refused"}


def test_the_secret_stays_the_same_and_is_for_its_owner_alone(folder):
    secret = folder.api_key()
    assert len(secret) == 64
    assert folder.api_key() == secret
    assert (folder.directory / "api_key").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(folder.directory)) == ["api_key", "sessions.lock"]


def test_a_folder_that_cannot_be_made_is_named_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CatalogError, match=r"file/catalogue cannot be written to .*--data-root"):
        CatalogFolder(tmp_path / "file" / "catalogue").create()


def test_sessions_share_their_lock_and_a_feeder_does_not(folder):
    first, second, feeder = folder.sessions, folder.sessions, folder.sessions
    first.share()
    second.share()
    assert not feeder.acquire()
    first.release()
    assert not folder.sessions.is_free
    second.release()
    assert folder.sessions.is_free
    assert feeder.acquire()
    assert not folder.sessions.acquire()
    feeder.release()


def test_the_lock_of_a_process_that_died_is_free(folder):
    program = (
        "import os; from pathlib import Path; from danmax_bluesky.pipelines.catalog.directory import Lock\n"
        f"lock = Lock(Path({str(folder.directory / 'sessions.lock')!r})); lock.share(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert folder.sessions.is_free


def test_the_address_of_the_server_is_remembered(folder):
    assert folder.server() is None
    address = folder.new_address(41234)
    folder.note_server(address)
    assert folder.server() == address
    assert address.port == 41234
    assert address.pid == os.getpid()


def test_the_place_follows_from_the_settings(tmp_path):
    settings = Settings(data_root=tmp_path)
    assert folder_of(settings) == CatalogFolder(tmp_path / ".catalog", "embedded")
    remote = CatalogSettings(kind="remote", uri="https://tiled.example.org")
    assert folder_of(Settings(data_root=tmp_path, catalog=remote)).target == "https://tiled.example.org"


@pytest.mark.parametrize(("kind", "text"), [("remote", "catalog.uri is empty"), ("off", "there is no catalogue")])
def test_settings_without_a_catalogue_say_so(tmp_path, kind, text):
    with pytest.raises(CatalogError, match=text):
        folder_of(Settings(data_root=tmp_path, catalog=CatalogSettings(kind=kind)))


@pytest.mark.parametrize(
    "uri", ["http://evil.example/api/v1/", "http://127.0.0.1:80@evil.example/api/v1/", "http://127.0.0.1:1/x"]
)
def test_the_secret_is_sent_to_no_address_but_one_of_this_machine(folder, uri):
    folder.note_server(ServerAddress(uri, 1, "here"))
    assert folder.server() is None


def test_an_address_that_another_user_wrote_does_not_count(folder, monkeypatch):
    folder.note_server(folder.new_address(41234))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert folder.server() is None


def test_locks_and_lists_are_not_reached_through_links(folder, tmp_path):
    (tmp_path / "precious").write_text("precious")
    for path, use in [
        (folder.directory / "feeder-embedded.lock", folder.feeder.acquire),
        (folder.runs, lambda: folder.announce("uid", tmp_path)),
    ]:
        path.symlink_to(tmp_path / "precious")
        with pytest.raises(OSError, match="symbolic links"):
            use()
    assert (tmp_path / "precious").read_text() == "precious"
