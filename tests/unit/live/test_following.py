"""A scan is followed through its files alone."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from danmax_bluesky.config import Settings, state_folder
from danmax_bluesky.errors import FormatError
from danmax_bluesky.live.following import MOST_FILES, Following
from danmax_bluesky.live.readers import Readers
from danmax_bluesky.live.scans import FolderScans, VisitScans, is_inside
from danmax_bluesky.runs.record import FrameSource
from danmax_bluesky.storage.claims import claims_folder, latest_claims
from danmax_bluesky.storage.journal import Journal


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 10.0
        return self.now


@pytest.fixture
def visit(tmp_path: Path) -> Path:
    raw = tmp_path / "p" / "v" / "raw" / "day1"
    raw.mkdir(parents=True)
    return tmp_path


def _journal(root: Path, number: int = 1, folder: str = "day1", **more: object) -> Journal:
    raw = root / "p" / "v" / "raw" / folder
    raw.mkdir(parents=True, exist_ok=True)
    journal = Journal(raw / f"scan-{number:04d}_documents.jsonl")
    start = {"uid": f"u{number}", "time": 1.0, "scan_id": number, "data_root": str(root), "proposal": "p"}
    journal.write("start", {**start, "visit": "v", "folder": folder, **more})
    return journal


def _frames(journal: Journal, file: Path, frames: np.ndarray, number: int) -> None:
    with h5py.File(file, "w") as stream:
        stream.create_dataset("data", data=frames, chunks=(1, *frames.shape[1:]))
    keys = {"orca": {"shape": [1, *frames.shape[1:]], "dtype_numpy": "<u2", "dtype": "array", "source": "x"}}
    journal.write("descriptor", {"uid": "d", "name": "primary", "data_keys": keys, "run_start": "u1"})
    resource = {"uid": "r", "data_key": "orca", "uri": f"file://localhost{file}", "parameters": {"dataset": "/data"}}
    journal.write("stream_resource", resource)
    indices = {"start": 0, "stop": number}
    journal.write("stream_datum", {"uid": "s", "descriptor": "d", "stream_resource": "r", "indices": indices})


def test_the_record_grows_with_its_journal(visit):
    journal = _journal(visit)
    following = Following(journal.path, [visit], _Clock())
    assert following.record is not None
    assert following.record.status == "open"
    journal.write("stop", {"uid": "x", "run_start": "u1", "time": 2.0, "exit_status": "success"})
    assert following.record.status == "complete"
    journal.close()


def test_half_a_line_is_read_once_it_is_whole(visit):
    journal = _journal(visit)
    following = Following(journal.path, [visit], _Clock())
    line = json.dumps(["stop", {"uid": "x", "run_start": "u1", "time": 2.0, "exit_status": "success"}]) + "\n"
    with journal.path.open("a") as stream:
        stream.write(line[:20])
        stream.flush()
        assert following.record is not None
        assert following.record.status == "open"
        stream.write(line[20:])
    assert following.record.status == "complete"
    assert not following.problems
    journal.close()


def test_a_scan_whose_process_died_is_seen_to_be_over(visit):
    journal = _journal(visit)
    following = Following(journal.path, [visit], _Clock())
    assert following.record is not None
    journal.close()
    assert following.record.status == "incomplete"


def test_the_last_frame_is_the_one_on_disk_whatever_the_documents_told_so_far(visit):
    journal = _journal(visit)
    frames = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6)
    _frames(journal, visit / "p/v/raw/day1/scan-0001_orca.h5", frames, 2)
    following = Following(journal.path, [visit], _Clock())
    frame = following.last_frame("orca")
    assert frame is not None
    assert (frame.row, frame.number, frame.segment) == (4, 5, "primary")
    np.testing.assert_array_equal(frame.counts, frames[4])
    assert following.last_frame("orca", ("flat",)) is None
    assert following.last_frame("pilatus") is None
    following.close()
    journal.close()


def test_a_file_outside_the_roots_is_not_read_whatever_a_document_says(visit, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.h5"
    journal = _journal(visit)
    _frames(journal, elsewhere, np.ones((1, 4, 6), np.uint16), 1)
    following = Following(journal.path, [visit], _Clock())
    with pytest.raises(FormatError, match="none of the folders that the page may read"):
        following.last_frame("orca")
    assert following.tables == {}
    assert "none of the folders" in following.problems["tables"]
    journal.close()


def test_a_link_that_leads_out_of_the_roots_is_outside_them(visit, tmp_path_factory):
    link = visit / "link.h5"
    link.symlink_to(tmp_path_factory.mktemp("elsewhere") / "x.h5")
    assert not is_inside(link, [visit])
    assert not is_inside(visit / ".." / "x.h5", [visit])
    assert is_inside(visit / "p" / "new.h5", [visit])


def test_a_damaged_line_is_told_of_and_left_out(visit):
    journal = _journal(visit)
    with journal.path.open("a") as stream:
        stream.write("no document\n")
    following = Following(journal.path, [visit], _Clock())
    assert following.record is not None
    assert "line 2 is damaged" in following.problems["journal"]
    journal.close()


def test_the_scan_that_was_begun_last_is_the_running_one_also_after_newvisit(visit):
    def claim(visit_name: str, number: int, folder: str) -> None:
        state = state_folder(visit, "p", visit_name)
        claims_folder(state).mkdir(parents=True, exist_ok=True)
        (claims_folder(state) / f"scan-{number:04d}").write_text(json.dumps({"folder": folder}))

    settings = [Settings(data_root=visit, proposal="p", visit="v")]
    scans = VisitScans(lambda: settings[0], _Clock())
    assert scans.journals() == ()
    for number, folder in ((1, "day1"), (2, "day2/bone")):
        claim("v", number, folder)
        _journal(visit, number, folder).close()
    claim("v", 3, "day2")  # no run followed
    assert [path.name for path in scans.journals()] == ["scan-0002_documents.jsonl", "scan-0001_documents.jsonl"]
    settings[0] = Settings(data_root=visit, proposal="p", visit="w")
    assert scans.journals() == ()


def test_claims_that_say_nothing_are_left_aside(visit):
    claims = claims_folder(visit)
    claims.mkdir()
    (claims / "scan-0001").write_text('{"folder": "day1"}')
    (claims / "scan-0002").write_text("")
    (claims / "notes.txt").write_text("x")
    assert latest_claims(visit, 10) == [("scan-0001", "day1")]


def test_a_folder_that_was_taken_home_shows_its_scans(visit):
    for number in (1, 2):
        _journal(visit, number).close()
    scans = FolderScans(visit / "p/v/raw/day1")
    assert {path.name for path in scans.journals()} == {"scan-0001_documents.jsonl", "scan-0002_documents.jsonl"}
    assert scans.roots == (visit / "p" / "v",)
    alone = FolderScans(visit / "p/v/raw/day1/scan-0002.h5")
    assert [path.name for path in alone.journals()] == ["scan-0002_documents.jsonl"]


def test_ten_browsers_that_look_at_one_scan_share_its_reader(visit):
    paths = []
    for number in range(1, 5):
        journal = _journal(visit, number)
        journal.close()
        paths.append(journal.path)
    readers = Readers(most=2)
    first = readers.of(paths[0], [visit])
    assert readers.of(paths[0], [visit]) is first
    for path in paths[1:]:
        readers.of(path, [visit])
    assert readers.of(paths[0], [visit]) is not first


def test_a_scan_with_a_file_for_each_point_does_not_keep_them_all_open(visit):
    journal = _journal(visit)
    frame = np.ones((1, 2, 2), np.uint16)
    files = [visit / f"p/v/raw/day1/scan-0001_orca_{number}.h5" for number in range(MOST_FILES + 4)]
    for file in files:
        with h5py.File(file, "w") as stream:
            stream.create_dataset("data", data=frame)
    following = Following(journal.path, [visit], _Clock())
    sources = [FrameSource("orca", file, "/data", 0, 1, (2, 2), "<u2") for file in files]
    opened = [following.frames(source) for source in sources]
    assert following.frames(sources[-1]) is opened[-1]
    assert len(following._files) == MOST_FILES
    counts = np.empty((2, 2), np.uint16)
    following.frames(sources[0]).read_into(0, counts)  # it is opened again
    np.testing.assert_array_equal(counts, frame[0])
    following.close()
    journal.close()
