"""A beamline whose cameras answer at once, in this process, and write nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ophyd_async.core import PathInfo

from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.beamline import Beamline, make_beamline


class QuickCamera:
    """Answers like the process of a camera, without one."""

    def __init__(self, name, config, on_event):
        self.name, self.config, self.tell = name, config, on_event
        self.written = self.triggered = 0
        self.gates: list[dict[str, list]] = []
        self.commands: list[str] = []

    def start(self):
        self.tell({"event": "ready"})

    def arm(self, path, num):
        self.commands.append("arm")
        self.written = self.triggered = 0
        self.tell({"event": "armed", "path": path, "num": num})

    def expose(self, gates):
        self.gates.append(gates)
        self.triggered += len(gates["lost"])
        self.written += sum(1 for lost in gates["lost"] if not lost)
        self.tell({"event": "frames", "written": self.written, "triggered": self.triggered})

    def disarm(self):
        self.commands.append("disarm")
        self.tell({"event": "disarmed", "written": self.written})

    def close(self):
        self.commands.append("close")


class Paths:
    """A path provider: every scan of the test gets the next number."""

    def __init__(self, folder: Path):
        self.folder, self.number = folder, 1

    def __call__(self, datakey_name=None):
        return PathInfo(directory_path=self.folder, filename=f"scan-{self.number:04d}_{datakey_name}")


@pytest.fixture
def paths(tmp_path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture
def options() -> dict[str, Any]:
    """Settings of the test's beamline; a test changes them before it asks for `beamline`."""
    return {"twin.clock": "fast", "detectors.orca.width": 16, "detectors.orca.height": 8}


@pytest.fixture
async def beamline(paths, options) -> AsyncIterator[Beamline]:
    made = await make_beamline(load_settings(options=options), paths, make_process=QuickCamera)
    before = asyncio.all_tasks()
    yield made
    made.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
    assert not left, f"tasks are left: {left}"
