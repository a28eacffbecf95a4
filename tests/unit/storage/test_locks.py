"""Who may write a file."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.locks import Lock, WriterLock, has_writer, held, is_locked, scan_lock

HOLD = """
import sys
from pathlib import Path
from danmax_bluesky.storage.locks import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "azint" / "patterns.h5"


def test_one_writes_at_a_time_and_nothing_is_left_behind(path):
    assert not has_writer(path)
    first = WriterLock(path)
    assert has_writer(path)
    with pytest.raises(StorageError, match=r"patterns\.h5 is being written by another process"):
        WriterLock(path, wait_s=0.01)
    first.release()
    first.release()
    assert not has_writer(path)
    WriterLock(path, wait_s=0.01).release()
    assert list(path.parent.iterdir()) == []


def test_the_right_ends_with_the_process(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert has_writer(path)
        other.kill()
    assert not has_writer(path)
    WriterLock(path).release()


def test_of_many_that_wait_each_has_it_alone(path):
    """Who lets go removes the file, while others are opening it."""
    inside, most = [], []

    def write():
        for _ in range(20):
            lock = WriterLock(path, wait_s=60)
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            lock.release()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    (tmp_path / "azint").write_text("no folder")
    with pytest.raises(StorageError, match="azint"):
        WriterLock(tmp_path / "azint" / "patterns.h5")


def test_who_waits_too_long_for_a_lock_is_told_what_to_end(tmp_path):
    path = tmp_path / "parameters.lock"
    with held(path, 0.01):
        with pytest.raises(StorageError, match=r"parameters\.lock was held by another process for 0\.01 s; end that"):
            with held(path, 0.01):
                pass
    with held(path, 0.01):
        pass


def test_a_lock_that_is_shared_is_held_by_nobody_alone(tmp_path):
    path = tmp_path / "sessions.lock"
    first, second, alone = Lock(path), Lock(path), Lock(path)
    first.share()
    second.share()
    assert not is_locked(path)
    assert not alone.acquire()
    first.release()
    second.release()
    assert alone.acquire()
    assert is_locked(path)
    assert not first.is_free
    alone.release()
    assert first.is_free


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
