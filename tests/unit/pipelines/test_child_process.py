"""A process that works for this one."""

import signal
import subprocess
import sys
import threading

import pytest

from danmax_bluesky.pipelines.child_process import ChildProcess

ECHO = "import sys\nfor line in sys.stdin: print('heard', line.strip(), flush=True)"
DEAF = "import sys, time\nprint('here', flush=True)\ntime.sleep(600)"
PARENT = """
import sys, time
from danmax_bluesky.pipelines.child_process import ChildProcess
child = ChildProcess([sys.executable, "-c", "import sys; print('here', flush=True); sys.stdin.read()"])
time.sleep(600)
"""


def python(program):
    return [sys.executable, "-c", program]


class Heard:
    """Collects lines, and lets a test wait for a number of them."""

    def __init__(self):
        self.lines = []
        self.statuses = []
        self._changed = threading.Condition()

    def __call__(self, line):
        with self._changed:
            self.lines.append(line.decode().strip())
            self._changed.notify_all()

    def wait_for(self, number):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) >= number, 60)


def test_it_hears_lines_answers_with_lines_and_ends_with_its_input():
    heard = Heard()
    child = ChildProcess(python(ECHO), on_line=heard, on_end=heard.statuses.append)
    child.say("one")
    child.say("two " + "x" * 200_000)  # more than a pipe holds
    heard.wait_for(2)
    assert child.status is None
    assert child.end(60)
    assert [len(line) for line in heard.lines] == [9, 200_010]
    assert (child.status, heard.statuses) == (0, [0])
    child.say("three")
    assert child.end(60)


def test_one_that_does_not_end_is_killed():
    heard = Heard()
    child = ChildProcess(python(DEAF), on_line=heard, on_end=heard.statuses.append)
    heard.wait_for(1)
    assert not child.end(0.1)
    assert child.status == heard.statuses[0] == -signal.SIGKILL


def test_a_line_that_is_not_understood_ends_nothing(caplog):
    heard = Heard()

    def fussy(line):
        if b"bad" in line:
            raise ValueError("no such word")
        heard(line)

    child = ChildProcess(python(ECHO), on_line=fussy)
    child.say("bad")
    child.say("good")
    heard.wait_for(1)
    child.end(60)
    assert heard.lines == ["heard good"]
    assert "no such word" in caplog.text


def test_it_ends_when_the_process_that_started_it_is_killed():
    with subprocess.Popen(python(PARENT), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"here\n"
        parent.kill()
        assert parent.stdout.read() == b""  # which ends once nobody holds the pipe any more


def test_what_it_writes_goes_to_its_log_and_never_through_a_link(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    program = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    ChildProcess(python(program), log=log).end(60)
    assert log.read_text() == "before\nout\nerr\n"
    (tmp_path / "link").symlink_to(log)
    with pytest.raises(OSError, match="symbolic links"):
        ChildProcess(python(program), log=tmp_path / "link")
