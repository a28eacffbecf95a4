"""A scan that many tests read, break and mend, and a beamline whose cameras answer at once and write nothing."""

import asyncio
import copy
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky.run_engine import RunEngine, call_in_bluesky_event_loop
from ophyd_async.core import DetectorTrigger, PathInfo, TriggerInfo
from ophyd_async.fastcs.panda import SeqTable, SeqTableInfo

from danmax_bluesky.beamlines import twin
from danmax_bluesky.beamlines.beamline import Beamline
from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.panda import sequencer
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
    made = await twin.make(load_settings(options=options), paths, make_process=QuickCamera)
    before = asyncio.all_tasks()
    yield made
    made.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
    assert not left, f"tasks are left: {left}"


class Engine:
    """A RunEngine, a beamline in its event loop, and the documents of the last run."""

    def __init__(self, settings, paths):
        self.RE = RunEngine(context_managers=[])
        self.documents: list[tuple[str, Any]] = []
        self.RE.subscribe(lambda name, doc: self.documents.append((name, doc)))
        self.paths = paths
        made = call_in_bluesky_event_loop(twin.make(settings, paths, make_process=QuickCamera))
        self.beamline: Beamline = made
        self.seq = sequencer(made.panda)

    def __call__(self, plan):
        self.documents.clear()
        return self.RE(plan)

    def arm(self, total, *cameras):
        info = TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=total, exposure_timeout=5)
        for device in (*cameras, self.beamline.panda):
            yield from bps.prepare(device, info, wait=True)

    def segment(self, name, num, *cameras, rows, sweep=None, triggers_done=True):
        """One segment as the plans take it."""
        detectors = (*cameras, self.beamline.panda)
        rotation = self.beamline.rotation
        sources = [self.seq]
        if sweep is not None:
            yield from bps.prepare(rotation, sweep, wait=True)
            sources.append(rotation)
        yield from bps.prepare(self.seq, SeqTableInfo(sequence_table=rows, repeats=1), wait=True)
        yield from bps.declare_stream(*detectors, name=name, collect=True)
        for detector in detectors:
            yield from bps.abs_set(detector.events_to_kickoff, num, wait=True)
            yield from bps.abs_set(detector.stall_timeout, 0.1, wait=True)
        yield from bps.kickoff_all(*detectors, wait=True)
        yield from bps.kickoff_all(*sources, wait=True)
        yield from bps.complete_all(*sources, group="sources", wait=False)
        for detector in detectors:
            yield from bps.complete(detector, group="frames", wait=False)
        yield from bps.wait("sources")
        if triggers_done:
            for detector in detectors:
                yield from bps.abs_set(detector.triggers_done, True, wait=True)
        yield from bps.wait("frames")
        yield from bps.collect(*detectors, name=name)


@pytest.fixture
def engine(paths, options) -> Iterator[Engine]:
    made = Engine(load_settings(options=options), paths)
    yield made
    made.beamline.close()
    left = call_in_bluesky_event_loop(_tasks_left())
    made.RE.loop.call_soon_threadsafe(made.RE.loop.stop)
    made.RE._th.join()
    made.RE.loop.close()
    assert not left, f"tasks are left: {left}"


async def _tasks_left():
    for _ in range(3):
        await asyncio.sleep(0)
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def gate_row(repeats=1, high_us=1000, low_us=1000, **more) -> SeqTable:
    """Gates on line a, by time alone."""
    return SeqTable.row(repeats=repeats, time1=high_us, outa1=True, time2=low_us, **more)


@pytest.fixture
def gates():
    return gate_row
