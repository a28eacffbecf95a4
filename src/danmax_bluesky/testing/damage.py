"""Files as accidents leave them."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import h5py, os, sys
file = h5py.File(sys.argv[1], "r+", libver="latest")
file.swmr_mode = True
file.flush()
os._exit(9)
"""


def leave_open(path: Path) -> None:
    """Leave a file as a process that was killed while it wrote as SWMR leaves it."""
    subprocess.run([sys.executable, "-c", _PROGRAM, str(path)], check=False)
