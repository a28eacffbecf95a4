"""Which program ran, in which version, on what: for the provenance of whatever it does."""

import functools
import getpass
import platform
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import danmax_bluesky

LIBRARIES = (
    "bluesky",
    "ophyd-async",
    "event-model",
    "h5py",
    "hdf5plugin",
    "numpy",
    "scipy",
    "numba",
    "pyFAI",
    "finufft",
    "tiled",
)


@functools.cache
def software() -> dict[str, str]:
    """Program and version, Python, system, libraries, and the state of the repository it runs from."""
    versions = {
        "program": "danmax_bluesky",
        "version": version("danmax-bluesky"),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions | git_state(Path(danmax_bluesky.__file__).parent)


def git_state(folder: Path) -> dict[str, str]:
    """Commit of the repository that holds a folder, and whether its files were changed; {} outside a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", "--", "."):
            return {}  # installed inside somebody else's repository
        return {
            "git_commit": git("rev-parse", "HEAD"),
            "git_changed": str(bool(git("status", "--porcelain", "--", "."))),
        }
    except (OSError, subprocess.SubprocessError):
        return {}


def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def user() -> str:
    """Login name of whoever runs the program; "" where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
