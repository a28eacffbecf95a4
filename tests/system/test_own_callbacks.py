"""Callbacks of a user, named by the settings; and devices in the place of names."""

import json
import sys

import pytest

from danmax_bluesky.errors import ScanError, SettingsError

CODE = """
import json
from pathlib import Path

def log_runs(settings):
    def log(name, doc):
        if name == "stop":
            with (settings.data_root / "my_runs.txt").open("a") as file:
                file.write(doc["exit_status"] + "\\n")
    return log

def broken(settings):
    def fail(name, doc):
        raise ValueError("my own mistake")
    return fail

def nothing(settings):
    return None

def unfit(settings):
    raise KeyError("address")

number = 3
"""


@pytest.fixture
def _package(tmp_path, monkeypatch):
    (tmp_path / "my_callbacks.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_callbacks", None)


@pytest.mark.usefixtures("_package")
def test_callbacks_of_the_settings_hear_every_run_and_their_mistakes_end_none(sessions):
    session = sessions(callbacks=["my_callbacks:log_runs", "my_callbacks:broken"])
    motor = session.beamline.motors["tom_sam_x"]
    session.RE(session.plans.ascan(motor, 0, 1, 2, 0.01, detectors=[session.beamline.cameras["orca"]]))
    with pytest.raises(Exception, match=r"my_callbacks:broken.*my own mistake"):
        session.wait_for_files()
    assert (session.settings.data_root / "my_runs.txt").read_text() == "success\n"
    call = json.loads(json.dumps(session.last_run["call"]))
    assert (call["motor"], session.last_run["detectors"]) == ("tom_sam_x", ["orca"])
    assert session.last_run["command"].startswith("ascan('tom_sam_x', 0, 1, 2, 0.01")


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_callbacks", "it is not written as package.module:function"),
        ("my_callbacks:gone", "has no attribute 'gone'"),
        ("not_there:make", "No module named 'not_there'"),
        ("my_callbacks:number", "it is a int, and not a function"),
        ("my_callbacks:nothing", "returned None; it has to return a function"),
        ("my_callbacks:unfit", "my_callbacks:unfit failed: KeyError: 'address'"),
    ],
)
def test_a_callback_that_cannot_be_used_is_one_error_when_the_session_begins(sessions, name, message):
    with pytest.raises(SettingsError, match=message):
        sessions(callbacks=[name])


def test_a_motor_that_is_not_of_this_beamline_is_refused_by_its_name(sessions):
    session = sessions()
    with pytest.raises(ScanError, match="motor furnace: there is none; there are"):
        session.RE(session.plans.azint_scan("furnace", 0, 1, 2, 0.01))
