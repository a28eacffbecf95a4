"""What nobody should have to wait for at a prompt."""

import subprocess
import sys

import pytest

HEAVY = {"scipy", "pyFAI", "fabio", "numba", "matplotlib", "xarray", "dask", "pandas", "tiled", "tango", "distributed"}


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("danmax_bluesky.cli", {"numpy", "bluesky", "ophyd_async", "h5py", "IPython", *HEAVY}),
        ("danmax_bluesky.shell.start", HEAVY),
    ],
)
def test_what_a_prompt_does_not_need_is_not_imported(module, spared):
    command = [sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert not spared.intersection(loaded)
