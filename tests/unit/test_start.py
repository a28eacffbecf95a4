"""What nobody should have to wait for at a prompt."""

import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = str(Path(__file__).parents[2] / "src")
HEAVY = {"scipy", "pyFAI", "fabio", "numba", "matplotlib", "xarray", "dask", "pandas", "tiled", "tango", "distributed"}


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        (
            "danmax_bluesky.cli",
            {"pydantic", "yaml", "rich", "numpy", "bluesky", "ophyd_async", "h5py", "IPython", *HEAVY},
        ),
        ("danmax_bluesky.shell.start", HEAVY),
    ],
)
def test_what_a_prompt_does_not_need_is_not_imported(module, spared):
    command = [sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert not spared.intersection(loaded)


_BEFORE = """
import os, signal, sys, threading
def state():
    return (
        threading.excepthook, sys.excepthook, sys.displayhook, dict(os.environ),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        [thread.name for thread in threading.enumerate()],
    )
before = state()
import danmax_bluesky.pipelines.pictures, danmax_bluesky.storage.reading, danmax_bluesky.config
assert state() == before, (before, state())
assert sys.modules.get("rfc3987_syntax", sys) is not None
import matplotlib
assert not isinstance(dict.__getitem__(matplotlib.rcParams, "backend"), str)  # nobody chose one
"""


def test_an_import_changes_nothing():
    subprocess.run([sys.executable, "-c", _BEFORE], check=True, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": _SOURCE})
