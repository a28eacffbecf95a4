"""Sessions on the twin."""

from collections.abc import Callable, Iterator
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
}

MakeSession = Callable[..., Session]


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[MakeSession]:
    """Makes sessions with small detectors on the fast twin; they are closed when the test ends."""
    open_ones: list[Session] = []

    def make(root: Path | None = None, **options: Any) -> Session:
        dotted = {key.replace("__", "."): value for key, value in options.items()}
        settings = load_settings(options={**SMALL, "data_root": str(root or tmp_path / "data"), **dotted})
        open_ones.append(make_session(settings))
        return open_ones[-1]

    yield make
    for session in open_ones:
        session.close()
