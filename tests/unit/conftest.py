"""A scan that many tests read, break and mend."""

import copy
import shutil
from pathlib import Path

import pytest

from danmax_bluesky.testing.compose import Run
from danmax_bluesky.testing.replay import measured


@pytest.fixture(scope="session")
def _composed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Run]:
    folder = tmp_path_factory.mktemp("composed")
    run = measured(folder / "root")
    shutil.copytree(folder / "root", folder / "kept")
    return folder / "root", folder / "kept", run


@pytest.fixture
def run(_composed: tuple[Path, Path, Run]) -> Run:
    """A synthetic tomography with all its files, written once and put back for every test at the place it tells of."""
    root, kept, run = _composed
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(kept, root)
    return copy.deepcopy(run)
