import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage import recovery
from danmax_bluesky.storage.files import open_to_read

WRITER = """
import os, sys, h5py
file = h5py.File(sys.argv[1], "w", libver="latest")
data = file.create_dataset("data", (0,), "i4", maxshape=(None,), chunks=(1,))
file.swmr_mode = True
for line in sys.stdin:  # a frame for each line
    data.resize(len(data) + 1, 0)
    data[-1] = 1
    file.flush()
    print("written", flush=True)
os._exit(0)  # without closing the file
"""


@pytest.fixture
def camera(tmp_path):
    path = tmp_path / "scan-0001_orca.h5"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def write():
        process.stdin.write("next\n")
        process.stdin.flush()
        assert process.stdout.readline() == "written\n"

    write()
    yield path, write
    process.stdin.close()
    process.wait(20)
    process.stdout.close()


def sleeping(monkeypatch, sleep):
    """Let something happen whenever the reader waits."""
    monkeypatch.setattr(recovery, "time", SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=sleep))


def test_frames_that_a_camera_still_has_in_memory_are_waited_for(camera, monkeypatch):
    path, write = camera
    left = iter(range(15))
    sleeping(monkeypatch, lambda _s: next(left, None) is not None and write())
    monkeypatch.setattr(recovery, "QUIET_S", 0.3)
    recovery._wait_for_writer(path)
    with open_to_read(path) as file:
        assert len(file["data"]) == 16
    assert next(left, None) is None


def test_a_camera_that_writes_on_and_on_is_an_error(camera, monkeypatch):
    path, write = camera
    sleeping(monkeypatch, lambda _s: write())
    monkeypatch.setattr(recovery, "LONGEST_WRITING_S", 0.1)
    with pytest.raises(StorageError, match=r"scan-0001_orca.h5 is still being written; rebuild the scan again"):
        recovery._wait_for_writer(path)


def test_nobody_waits_for_a_file_that_has_not_changed_for_long(camera, monkeypatch):
    path, _ = camera
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    sleeping(monkeypatch, None)
    recovery._wait_for_writer(path)
