"""Sessions on the twin."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import Session, make_session

SMALL = {
    "twin.clock": "fast",
    "detectors.orca.width": 96,
    "detectors.orca.height": 32,
    "detectors.pilatus.width": 487,
    "detectors.pilatus.height": 407,
    "formats.integrate": False,
    "catalog.kind": "off",
    "sample": "bone",
    "motors.tom_ry.velocity": 720,
    "motors.tom_sam_x.velocity": 400,
    "motors.tom_sam_x.max_velocity": 400,
    "motors.tom_sam_x.acceleration_time": 0.02,
}

MakeSession = Callable[..., Session]


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[MakeSession]:
    """Makes sessions with small detectors on the fast twin; they are closed when the test ends."""
    with ExitStack() as open_ones:
        yield lambda root=None, **options: _session(open_ones, root or tmp_path / "data", options)


@pytest.fixture(scope="module")
def session_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSession]:
    """Makes sessions that all tests of a module share; they are closed when its last test ends."""
    with ExitStack() as open_ones:
        yield lambda **options: _session(open_ones, tmp_path_factory.mktemp("visit"), options)


def _session(open_ones: ExitStack, root: Path, options: dict[str, Any]) -> Session:
    dotted = {key.replace("__", "."): value for key, value in options.items()}
    settings = load_settings(options={**SMALL, "data_root": str(root), **dotted})
    return open_ones.enter_context(make_session(settings))
