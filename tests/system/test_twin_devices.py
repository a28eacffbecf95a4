"""The devices of the twin under a real RunEngine, with cameras in processes of their own that write real files."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd_async.core import DetectorTrigger, FlyMotorInfo, PathInfo, TriggerInfo
from ophyd_async.fastcs.panda import SeqTable, SeqTableInfo, SeqTrigger

from danmax_bluesky.beamlines.beamline import make_beamline
from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.panda import sequencer
from danmax_bluesky.runs.record import fold

PHASES = {"dark": 4, "flat": 5, "proj": 30, "flat_after": 5}
SWEEP = (10.0, 40.0)
EXPOSURE_US, PERIOD_US = 6_000, 10_000


class Twin:
    """A RunEngine, a beamline, and one tomography."""

    def __init__(self, folder, clock):
        self.folder = folder
        self.number = 0
        self.RE = RunEngine(context_managers=[])
        self.documents = []
        self.RE.subscribe(lambda name, doc: self.documents.append((name, doc)))
        settings = load_settings(
            options={
                "twin.clock": clock,
                "detectors": {
                    "orca": {"width": 48, "height": 16},
                    "pilatus": {"kind": "imaging", "width": 8, "height": 8},
                },
            }
        )
        self.beamline = self.ask(make_beamline(settings, self.path))
        self.camera, self.panda = self.beamline.cameras["orca"], self.beamline.panda
        self.seq = sequencer(self.panda)
        self.encoder = settings.encoder

    def ask(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.RE.loop).result(timeout=30)

    def path(self, key=None):
        return PathInfo(directory_path=self.folder, filename=f"scan-{self.number:04d}_{key}")

    def close(self):
        self.beamline.close()
        left = self.ask(tasks_left())
        self.RE.loop.call_soon_threadsafe(self.RE.loop.stop)
        self.RE._th.join()
        self.RE.loop.close()
        assert not left, f"tasks are left: {left}"

    def run(self, slow=1):
        self.number += 1
        self.documents.clear()
        self.RE(self.tomography(slow))
        return fold(self.documents)

    def file(self, key):
        return h5py.File(self.folder / f"scan-{self.number:04d}_{key}{'.hdf5' if key == 'panda' else '.h5'}")

    def angles(self):
        return self.beamline.twin.world.exposures["orca"]["angle_deg"].tolist()

    def tomography(self, slow):
        detectors = (self.camera, self.panda)

        @bpp.stage_decorator([*detectors, self.seq, self.beamline.rotation])
        @bpp.run_decorator(md={"segments": [{"name": n, "num": k, "kind": "data"} for n, k in PHASES.items()]})
        def inner():
            info = TriggerInfo(
                trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=sum(PHASES.values()), exposure_timeout=3
            )
            for detector in detectors:
                yield from bps.prepare(detector, info, wait=True)
                yield from bps.abs_set(detector.stall_timeout, 0.5, wait=True)
            for name, num in PHASES.items():
                yield from self.phase(name, num, slow)

        def make_safe():
            yield from bps.mv(self.beamline.shutter, "closed")

        return (yield from bpp.finalize_wrapper(inner(), make_safe))

    def phase(self, name, num, slow):
        yield from bps.checkpoint()
        yield from bps.mv(self.beamline.shutter, "closed" if name == "dark" else "open")
        yield from bps.mv(self.beamline.motors["tom_sam_x"], 20.0 if name.startswith("flat") else 0.0)
        sources = [self.seq]
        rows = SeqTable.row(repeats=num, time1=EXPOSURE_US * slow, outa1=True, time2=(PERIOD_US - EXPOSURE_US) * slow)
        if name == "proj":
            first, last = SWEEP
            count = round((first - self.encoder.offset_deg) * self.encoder.counts_per_deg)
            rows = SeqTable.row(trigger=SeqTrigger.POSA_GT, position=count) + rows
            time_s = num * PERIOD_US * slow * 1e-6
            info = FlyMotorInfo(
                start_position=first - 1.0, end_position=last + 1.0, time_for_move=time_s * (1 + 2.0 / (last - first))
            )
            yield from bps.prepare(self.beamline.rotation, info, wait=True)
            sources.append(self.beamline.rotation)
        yield from bps.prepare(self.seq, SeqTableInfo(sequence_table=rows, repeats=1), wait=True)
        detectors = (self.camera, self.panda)
        yield from bps.declare_stream(*detectors, name=name, collect=True)
        for detector in detectors:
            yield from bps.abs_set(detector.events_to_kickoff, num, wait=True)

        def measure():
            yield from bps.kickoff_all(*detectors, wait=True)
            yield from bps.kickoff_all(*sources, wait=True)
            yield from bps.complete_all(*sources, group="sources")
            for detector in detectors:
                yield from bps.complete(detector, group="frames", wait=False)
            yield from bps.wait("sources")
            for detector in detectors:
                yield from bps.abs_set(detector.triggers_done, True, wait=True)
            yield from bps.wait("frames")
            yield from bps.collect(*detectors, name=name)

        def collect(_error):
            yield from bps.collect(*detectors, name=name)

        yield from bpp.rewindable_wrapper(bpp.contingency_wrapper(measure(), except_plan=collect), False)


async def tasks_left():
    for _ in range(3):
        await asyncio.sleep(0)
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@pytest.fixture
def twins(tmp_path) -> Iterator[Callable[[str], Twin]]:
    made: list[Twin] = []

    def make(clock: str) -> Twin:
        made.append(Twin(tmp_path / clock, clock))
        made[-1].folder.mkdir()
        return made[-1]

    yield make
    for twin in made:
        twin.close()


def check_whole(twin, record):
    """Everything planned is on disk and documented, and what is on disk is what should be."""
    assert record.status == "complete"
    assert {segment.name: len(segment) for segment in record.segments} == PHASES
    total = sum(PHASES.values())
    with twin.file("orca") as file:
        group = file["entry/instrument/orca"]
        assert group["data"].shape == (total, 16, 48)
        assert group["frame_number"][()].tolist() == list(range(total))
        assert np.all(np.diff(group["timestamp"][()]) > 0)
        mean = {
            s.name: group["data"][s.external["orca"].start : s.external["orca"].stop].mean() for s in record.segments
        }
    assert mean["dark"] < mean["proj"] < mean["flat"]
    assert mean["flat_after"] == pytest.approx(mean["flat"], rel=0.02)
    with twin.file("panda") as file:
        measured = file["tom_ry_mean"][()] / twin.encoder.counts_per_deg + twin.encoder.offset_deg
    assert np.abs(measured - twin.angles()).max() < 1e-6
    projections = twin.angles()[9:39]
    step = (SWEEP[1] - SWEEP[0]) / PHASES["proj"]
    middle = SWEEP[0] + step * (np.arange(PHASES["proj"]) + 0.5 * EXPOSURE_US / PERIOD_US)
    assert np.abs(projections - middle).max() < 1e-4


def test_one_arming_writes_every_segment_and_both_clocks_measure_the_same(twins):
    fast, real = twins("fast"), twins("real")
    check_whole(fast, fast.run())
    assert fast.beamline.twin.world.armings["orca"] == 1
    angles = fast.angles()
    with fast.file("orca") as file:
        frames = file["entry/instrument/orca/data"][()]
    check_whole(fast, fast.run())
    # the first flats were taken where the axis stood at the very beginning
    assert fast.angles()[9:] == angles[9:]
    check_whole(real, real.run())
    assert real.angles() == angles
    with real.file("orca") as file:
        assert np.array_equal(file["entry/instrument/orca/data"][()], frames)


def interrupt(twin, after_frames, how):
    """Do something to the RunEngine once so many triggers were sent."""

    def wait():
        log = twin.beamline.twin.world.exposures["orca"]
        while len(log) < after_frames:
            time.sleep(0.005)
        how()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("ending", ["abort", "stop", "halt"])
def test_after_a_scan_that_was_ended_in_its_sweep_the_next_one_is_whole(twins, ending):
    twin = twins("real")
    thread = interrupt(twin, 15, lambda: twin.RE.request_pause(defer=False))
    with pytest.raises(RunEngineInterrupted):
        twin.run(slow=5)
    thread.join()
    assert twin.RE.state == "paused"
    getattr(twin.RE, ending)(*(["enough"] if ending == "abort" else []))
    if ending != "halt":
        assert twin.ask(state(twin)) == ("closed", False, False, 90.0)
        record = fold(twin.documents)
        assert not record.is_complete
        with twin.file("orca") as file:
            on_disk = len(file["entry/instrument/orca/data"])
        exposed = len(twin.beamline.twin.world.exposures["orca"])
        assert 15 <= on_disk == exposed < sum(PHASES.values())
        documented = sum(
            source.stop - source.start for s in record.segments for k, source in s.external.items() if k == "orca"
        )
        assert 9 <= documented <= on_disk  # some came after the collection, while everything was stopped
    check_whole(twin, twin.run())


async def state(twin):
    camera, rotation = twin.camera, twin.beamline.rotation
    shutter = await twin.beamline.shutter.locate()
    signals = camera.armed, rotation.moving, rotation.velocity
    return (shutter["readback"], *[await signal.get_value() for signal in signals])


def test_a_camera_that_is_killed_ends_the_scan_soon_and_is_there_for_the_next(twins):
    twin = twins("real")
    process = twin.beamline.twin.world.cameras["orca"]._process
    thread = interrupt(twin, 15, lambda: os.kill(process.pid, signal.SIGKILL))
    record = twin.run(slow=5)
    thread.join()
    assert record.status == "incomplete"
    # its writer could not close it, so it is read as one reads a file that is being written
    with h5py.File(twin.folder / "scan-0001_orca.h5", "r", libver="latest", swmr=True) as file:
        on_disk = len(file["entry/instrument/orca/data"])
    rows = [segment.external["orca"] for segment in record.segments if "orca" in segment.external]
    assert 9 <= sum(len(row) for row in rows) <= on_disk < sum(PHASES.values())
    assert twin.ask(state(twin)) == ("closed", False, False, 90.0)
    check_whole(twin, twin.run())
