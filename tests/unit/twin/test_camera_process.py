"""The camera's process seen from its client: a real process, files and signals."""

import os
import queue
import resource
import signal
import subprocess
import sys
import threading

import h5py
import hdf5plugin  # noqa: F401 - HDF5 learns its compressions by this import
import numpy as np
import pytest

from danmax_bluesky.errors import DeviceError
from danmax_bluesky.testing.waiting import eventually, has_ended
from danmax_bluesky.twin.camera_client import CameraProcess
from danmax_bluesky.twin.camera_process import Camera

ORCA = {"kind": "imaging", "width": 64, "height": 16, "pixel_size_m": 5.5e-6, "magnification": 5.0}
START_NS = 1_700_000_000_000_000_000


def gates(first, number, **columns):
    triggers = list(range(first, first + number))
    start_ns = [START_NS + 20_000_000 * trigger for trigger in triggers]
    return {
        "start_ns": start_ns,
        "end_ns": [start + 10_000_000 for start in start_ns],
        "trigger": triggers,
        "angle_deg": [float(trigger) for trigger in triggers],
        "open": [1] * number,
        "x_mm": [0.0] * number,
        "y_mm": [0.0] * number,
        "z_mm": [0.0] * number,
        "beam": [1.0] * number,
        "lost": [0] * number,
    } | columns


class Session:
    """A camera process and its events."""

    def __init__(self, **config):
        self.events = queue.Queue()
        self.camera = CameraProcess("orca", {**ORCA, **config}, self.events.put)
        self.camera.start()

    def wait(self, *kinds):
        """Events up to the next of these kinds."""
        seen = []
        while not seen or seen[-1]["event"] not in kinds:
            seen.append(self.events.get(timeout=60))
            if seen[-1]["event"] in {"error", "died"} - set(kinds):
                raise AssertionError(seen[-1]["message"])
        return seen

    def scan(self, path, *batches, num=0):
        self.camera.arm(str(path), num)
        for batch in batches:
            self.camera.expose(batch)
        self.camera.disarm()
        return self.wait("disarmed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.camera.close()


def read(path, name="data"):
    with h5py.File(path) as file:
        return file[f"entry/instrument/orca/{name}"][()]


def test_a_scan_is_written_and_told(tmp_path):
    with Session() as session:
        ready = session.wait("ready")[-1]
        assert ready == {"event": "ready", "name": "orca", "height": 16, "width": 64, "dtype": "<u2"}
        events = session.scan(tmp_path / "scan.h5", gates(0, 3, lost=[0, 1, 0]), gates(3, 2), num=5)
    assert events[0] == {"event": "armed", "path": str(tmp_path / "scan.h5"), "num": 5}
    assert events[-2] == {"event": "frames", "written": 4, "triggered": 5}
    assert events[-1] == {"event": "disarmed", "written": 4, "triggered": 5}
    np.testing.assert_array_equal(read(tmp_path / "scan.h5", "frame_number"), [0, 2, 3, 4])
    assert read(tmp_path / "scan.h5", "timestamp")[1] == pytest.approx(1.7e9 + 0.05, abs=1e-6)
    np.testing.assert_allclose(read(tmp_path / "scan.h5", "count_time"), 0.01)


def test_what_is_told_can_be_read_at_once(tmp_path):
    with Session() as session:
        session.camera.arm(str(tmp_path / "scan.h5"), 0)
        session.wait("armed")
        with h5py.File(tmp_path / "scan.h5", "r", libver="latest", swmr=True) as reader:
            data = reader["entry/instrument/orca/data"]
            for first in range(0, 30, 10):
                session.camera.expose(gates(first, 10))
                while session.wait("frames")[-1]["written"] < first + 10:
                    pass
                data.refresh()
                assert len(data) >= first + 10
                assert data[first + 9].max() > 100
        session.camera.disarm()
        session.wait("disarmed")


def test_two_scans_are_identical_however_their_gates_arrive(tmp_path):
    with Session() as session:
        session.scan(tmp_path / "one.h5", gates(0, 12))
        session.scan(tmp_path / "two.h5", *(gates(first, 1) for first in range(12)))
    with Session() as session:
        session.scan(tmp_path / "three.h5", gates(0, 7), gates(7, 5))
    one = read(tmp_path / "one.h5")
    assert len(one) == 12
    np.testing.assert_array_equal(read(tmp_path / "two.h5"), one)
    np.testing.assert_array_equal(read(tmp_path / "three.h5"), one)


def test_a_bank_serves_one_scan_as_the_next(tmp_path):
    with Session(frame_bank=6) as session:
        session.scan(tmp_path / "one.h5", gates(0, 20))
        session.scan(tmp_path / "two.h5", gates(0, 20))
    np.testing.assert_array_equal(read(tmp_path / "one.h5"), read(tmp_path / "two.h5"))


def test_no_more_frames_are_made_than_the_camera_is_armed_for(tmp_path):
    with Session() as session:
        assert session.scan(tmp_path / "scan.h5", gates(0, 9), num=4)[-1]["written"] == 4
        session.camera.expose(gates(9, 3))  # not armed
        session.camera.disarm()
        assert session.wait("disarmed")[-1]["written"] == 4
    assert len(read(tmp_path / "scan.h5")) == 4


def test_arrays_will_do_as_gates(tmp_path):
    columns = {name: np.asarray(column) for name, column in gates(0, 3).items()}
    with Session() as session:
        assert session.scan(tmp_path / "scan.h5", columns)[-1]["written"] == 3


def test_an_error_is_told_and_the_camera_lives_on(tmp_path):
    taken = tmp_path / "taken.h5"
    taken.write_bytes(b"precious")
    with Session() as session:
        session.camera.arm(str(taken), 1)
        error = session.wait("error")[-1]
        assert "taken.h5 exists" in error["message"]
        assert error["during"] == "arm"
        assert session.scan(tmp_path / "scan.h5", gates(0, 2))[-1]["written"] == 2
        session.camera.arm(str(tmp_path / "other.h5"), 1)
        session.camera.arm(str(tmp_path / "another.h5"), 1)
        assert "is armed already" in session.wait("error")[-1]["message"]
        session.camera.expose({**gates(0, 2), "lost": [0]})
        assert "same length" in session.wait("error")[-1]["message"]
    assert taken.read_bytes() == b"precious"


def test_a_full_disk_is_told_and_the_next_scan_is_written(tmp_path):
    with Session() as session:
        session.wait("ready")
        resource.prlimit(session.camera.pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        session.camera.arm(str(tmp_path / "full.h5"), 0)
        session.camera.expose(gates(0, 100))
        error = session.wait("error")[-1]
        assert "writing to" in error["message"]
        assert "make room, or choose another data root" in error["message"]
        session.camera.expose(gates(100, 5))
        session.camera.disarm()
        assert session.wait("disarmed")[-1]["written"] < 100
        resource.prlimit(session.camera.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert session.scan(tmp_path / "scan.h5", gates(0, 3))[-1]["written"] == 3
    assert len(read(tmp_path / "scan.h5")) == 3


def test_a_wrong_description_surfaces_as_an_event(tmp_path):
    with Session(kind="video") as session:
        assert "'imaging' or 'counting'" in session.wait("error")[-1]["message"]
        session.camera.arm(str(tmp_path / "scan.h5"), 1)
        assert "configured without error" in session.wait("error")[-1]["message"]


def test_closing_writes_what_was_triggered_and_may_be_repeated(tmp_path):
    session = Session()
    session.camera.arm(str(tmp_path / "scan.h5"), 0)
    session.camera.expose(gates(0, 40))
    pid = session.camera.pid
    session.camera.close()
    session.camera.close()
    eventually(lambda: has_ended(pid))
    assert session.camera.pid is None
    assert len(read(tmp_path / "scan.h5")) == 40  # opens without SWMR: the file was closed
    assert "died" not in [session.events.get()["event"] for _ in range(session.events.qsize())]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("orca-")]
    with pytest.raises(DeviceError, match=r"orca: .* was closed; disarm"):
        session.camera.disarm()
    with pytest.raises(DeviceError, match="make a new"):
        session.camera.start()


def test_a_camera_that_was_never_started_closes_and_refuses():
    camera = CameraProcess("orca", ORCA, print)
    with pytest.raises(DeviceError, match="start the camera's process before arm"):
        camera.arm("scan.h5", 1)
    camera.close()


def test_the_death_of_the_process_is_told_once(tmp_path):
    with Session() as session:
        session.camera.arm(str(tmp_path / "scan.h5"), 0)
        session.wait("armed")
        os.kill(session.camera.pid, signal.SIGKILL)
        died = session.wait("died")[-1]
        assert died["returncode"] == -signal.SIGKILL
        assert "orca: the camera's process ended by signal 9" in died["message"]
        session.camera.expose(gates(0, 5))  # nobody listens; that is no error of the caller
        session.camera.close()
        assert session.events.empty()


def test_sigterm_closes_the_file_between_two_frames(tmp_path):
    with Session(width=512, height=256) as session:
        session.camera.arm(str(tmp_path / "scan.h5"), 0)
        session.camera.expose(gates(0, 5000))
        while session.wait("frames")[-1]["written"] < 2:
            pass
        os.kill(session.camera.pid, signal.SIGTERM)
        assert session.wait("died")[-1]["returncode"] == 0
    data, numbers = read(tmp_path / "scan.h5"), read(tmp_path / "scan.h5", "frame_number")
    assert 2 <= len(data) == len(numbers) < 5000


def test_ctrl_c_is_not_for_the_camera(tmp_path):
    with Session() as session:
        session.wait("ready")
        os.kill(session.camera.pid, signal.SIGINT)
        assert session.scan(tmp_path / "scan.h5", gates(0, 2))[-1]["written"] == 2


PARENT = """
import os, sys, time
from danmax_bluesky.twin.camera_client import CameraProcess

events = []
camera = CameraProcess("orca", {config!r}, events.append)
camera.start()
camera.arm({path!r}, 0)
camera.expose({gates!r})
while not any(event.get("written") == 3 for event in events):
    time.sleep(0.01)
{held}
print(camera.pid, flush=True)
os.kill(os.getpid(), 9)
"""
# a child of the session keeps the pipe to the camera open, as a forked worker does
HELD = """
if os.fork() == 0:
    os.close(1)
    time.sleep(600)
"""


@pytest.mark.parametrize("held", ["", HELD])
def test_the_camera_ends_when_its_parent_dies(tmp_path, held):
    path = tmp_path / "scan.h5"
    script = PARENT.format(config=ORCA, path=str(path), gates=gates(0, 3), held=held)
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        told, _ = parent.communicate(timeout=60)
        eventually(lambda: has_ended(int(told)))
        assert len(read(path)) == 3
    finally:
        os.killpg(parent.pid, signal.SIGKILL) if held else None


def test_the_process_starts_without_the_weight_of_the_session():
    code = "import danmax_bluesky.twin.camera_process, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"bluesky", "ophyd_async", "pyFAI", "fabio", "scipy", "numba", "matplotlib", "pydantic", "tiled", "asyncio"}
    assert not heavy.intersection(loaded)
    ours = {name for name in loaded if name.startswith("danmax_bluesky.") and ".twin" not in name}
    assert ours == {"danmax_bluesky.errors"}


def test_commands_that_are_not_understood_are_answered():
    events = []
    camera = Camera(events.append, threading.Event())
    camera.obey({"command": "dance"})
    camera.obey({"command": "arm", "road": "x"})
    assert [event["event"] for event in events] == ["error", "error"]
    assert "unknown command 'dance'; known are ['arm', 'configure', 'disarm', 'expose']" in events[0]["message"]
