import errno
import fcntl
import os

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.locks import WriterLock, has_writer, scan_lock


@pytest.fixture
def refuse(monkeypatch):
    """Makes every lock fail as a file system does that has none."""

    def with_error(code):
        def flock(stream, how):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", flock)

    return with_error


def test_a_scan_is_locked_for_one_at_a_time(tmp_path):
    with scan_lock(tmp_path, "scan-0001"):
        with pytest.raises(StorageError, match=r"scan-0001\.lock was held by another process for 0\.01 s"):
            with scan_lock(tmp_path, "scan-0001", 0.01):
                pass
        with scan_lock(tmp_path, "scan-0002", 0.01):
            pass
    with scan_lock(tmp_path, "scan-0001", 0.01):
        pass


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(StorageError, match="gone does not exist; the files of scan-0001 were moved"):
        with scan_lock(tmp_path / "gone", "scan-0001"):
            pass


def test_who_may_only_read_needs_no_lock(tmp_path, monkeypatch):
    def refuse(path, flags, mode=0o777):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere
    with scan_lock(tmp_path, "scan-0001"):
        assert os.listdir(tmp_path) == []


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_that_knows_no_locks_has_a_file_for_one(tmp_path, refuse):
    refuse(errno.ENOSYS)
    with scan_lock(tmp_path, "scan-0001"):
        with pytest.raises(StorageError, match="held by another process"):
            with scan_lock(tmp_path, "scan-0001", 0.01):
                pass
    with scan_lock(tmp_path, "scan-0001", 0.01):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_server_that_does_not_answer_for_its_locks_is_told(tmp_path, refuse, code):
    refuse(code)
    with pytest.raises(StorageError, match=r"scan-0001\.lock cannot be locked: .*; have its file system mounted with"):
        with scan_lock(tmp_path, "scan-0001"):
            pass


def test_patterns_are_written_where_nothing_can_be_locked(tmp_path, refuse, caplog):
    refuse(errno.ENOSYS)
    lock = WriterLock(tmp_path / "patterns.h5")
    assert "nothing keeps another process from writing it too" in caplog.text
    assert not has_writer(tmp_path / "patterns.h5")
    lock.release()
    assert os.listdir(tmp_path) == []
