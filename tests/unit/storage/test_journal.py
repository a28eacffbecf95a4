import errno
import fcntl
import os
import shutil

import numpy as np
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.journal import Journal, is_being_written, read_journal
from danmax_bluesky.storage.locks import lock_stream


def test_documents_come_back_as_they_were(tmp_path):
    path = tmp_path / "documents.jsonl"
    journal = Journal(path)
    journal.write("start", {"uid": "a", "n": np.int64(3), "x": np.arange(3.0), "nan": float("nan"), "text": "µ"})
    journal.write("stop", {"run_start": "a", "flag": np.bool_(True), "kinds": {"b", "a"}, "raw": b"x"})
    journal.close()
    (start_name, start), (stop_name, stop) = read_journal(path)
    assert (start_name, stop_name) == ("start", "stop")
    assert start["n"] == 3
    assert start["x"] == [0.0, 1.0, 2.0]
    assert np.isnan(start["nan"])
    assert start["text"] == "µ"
    assert stop == {"run_start": "a", "flag": True, "kinds": ["a", "b"], "raw": "x"}


def test_text_that_is_no_utf_8_comes_back_as_it_was(tmp_path):
    journal = Journal(tmp_path / "x.jsonl")
    journal.write("stop", {"reason": "Pr\udcf6be.h5 a\0b"})
    journal.close()
    assert [doc for _, doc in read_journal(tmp_path / "x.jsonl")] == [{"reason": "Pr\udcf6be.h5 a\0b"}]


def test_each_document_is_on_disk_before_the_next(tmp_path):
    journal = Journal(tmp_path / "documents.jsonl")
    journal.write("event", {"seq_num": 1})
    assert [doc["seq_num"] for _, doc in read_journal(journal.path)] == [1]
    journal.close()


def test_a_journal_is_never_overwritten(tmp_path):
    Journal(tmp_path / "documents.jsonl").close()
    with pytest.raises(StorageError, match="exists already"):
        Journal(tmp_path / "documents.jsonl")


@pytest.mark.parametrize("how", ["deleted", "moved", "its folder deleted", "replaced"])
def test_a_journal_that_is_gone_is_told_once_it_is_written_to(tmp_path, how):
    folder = tmp_path / "raw"
    folder.mkdir()
    journal = Journal(folder / "documents.jsonl")
    journal.write("start", {"uid": "a"})
    if how == "moved":
        folder.rename(tmp_path / "elsewhere")
    elif how == "its folder deleted":
        shutil.rmtree(folder)
    else:
        journal.path.unlink()
        if how == "replaced":
            journal.path.write_text("something else\n")
    with pytest.raises(StorageError, match=r"documents.jsonl is gone: somebody deleted or moved it"):
        journal.write("event", {"seq_num": 1})
    journal.close()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match="folder does not exist"):
        Journal(tmp_path / "gone" / "documents.jsonl")


def test_a_torn_last_line_is_left_out(tmp_path, caplog):
    path = tmp_path / "documents.jsonl"
    path.write_text('["start",{"uid":"a"}]\n["descriptor",{"ui')
    assert list(read_journal(path)) == [("start", {"uid": "a"})]
    assert "line, 2, is torn" in caplog.text


def test_damage_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "documents.jsonl"
    path.write_text('["start",{"uid":"a"}]\n["descr\n["stop",{}]\n')
    with pytest.raises(StorageError, match="line 2 is damaged"):
        list(read_journal(path))


def test_others_see_whether_the_run_is_alive(tmp_path):
    journal = Journal(tmp_path / "documents.jsonl")
    assert is_being_written(journal.path)
    journal.close()
    assert not is_being_written(journal.path)


def test_who_asks_at_that_moment_leaves_no_journal_without_its_lock(tmp_path, monkeypatch):
    path = tmp_path / "documents.jsonl"
    path.touch()
    with path.open("rb") as probe:
        assert lock_stream(probe, shared=True)
        monkeypatch.setattr("time.sleep", lambda _: probe.close())
        journal = Journal(path, resume=True)
    assert is_being_written(path)
    journal.close()


def test_a_journal_that_another_process_writes_is_not_continued(tmp_path, monkeypatch):
    monkeypatch.setattr("danmax_bluesky.storage.journal.LOCK_WAIT_S", 0.0)
    first = Journal(tmp_path / "documents.jsonl")
    first.write("start", {"uid": "a"})
    with pytest.raises(StorageError, match=r"documents\.jsonl is being written by another process"):
        Journal(first.path, resume=True)
    first.close()
    Journal(first.path, resume=True).close()


def test_half_a_line_of_a_writer_that_lives_is_left_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr("danmax_bluesky.storage.journal.LOCK_WAIT_S", 0.0)
    first = Journal(tmp_path / "documents.jsonl")
    first.write("start", {"uid": "a"})
    with first.path.open("a") as stream:
        stream.write('["event", {"uid"')
    before = first.path.read_bytes()
    with pytest.raises(StorageError, match="is being written by another process"):
        Journal(first.path, resume=True)
    assert first.path.read_bytes() == before
    first.close()
    Journal(first.path, resume=True).close()  # nobody will go on with it now
    assert list(read_journal(first.path)) == [("start", {"uid": "a"})]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_keeps_nobody_from_the_journal(tmp_path, monkeypatch, caplog, code):
    def refuse(stream, how):
        raise OSError(code, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    journal = Journal(tmp_path / "documents.jsonl")
    assert "a rebuild will not see that the run is alive" in caplog.text
    journal.write("start", {"uid": "a"})
    assert not is_being_written(journal.path)
    assert "cannot be told (no locks here)" in caplog.text
    journal.close()
    assert list(read_journal(journal.path)) == [("start", {"uid": "a"})]


def test_a_full_disk_is_told_once_and_the_lock_ends(tmp_path):
    journal = Journal(tmp_path / "documents.jsonl")
    with open("/dev/full", "w") as full:
        os.dup2(full.fileno(), journal._stream.fileno())  # a disk that has just become full
    with pytest.raises(StorageError, match="no space left on the disk"):
        journal.write("event", {"seq_num": 1})
    journal.close()
    assert not is_being_written(journal.path)
