import asyncio
import time

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.utils import maybe_await
from ophyd_async.core import (
    DetectorAcquireLogic,
    DetectorDataLogic,
    DetectorTrigger,
    DetectorTriggerLogic,
    StreamResourceDataProvider,
    StreamResourceInfo,
    TriggerInfo,
    soft_signal_r_and_setter,
)

from danmax_bluesky.devices.segments import SegmentedDataLogic, SegmentedDetector
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.runs.record import fold


class Trigger(DetectorTriggerLogic):
    def get_deadtime(self, config_values):
        return 0.0

    async def prepare_level(self, num):
        pass


class Acquire(DetectorAcquireLogic):
    def __init__(self):
        self.armings = 0
        self.idle = 0

    async def start_acquiring(self):
        self.armings += 1

    async def wait_for_idle(self):
        self.idle += 1

    async def ensure_stopped(self):
        pass


class Data(DetectorDataLogic):
    def __init__(self, written):
        self.written = written

    async def prepare_unbounded(self, datakey_name):
        resources = [
            StreamResourceInfo(
                data_key=datakey_name,
                shape=(4, 6),
                chunk_shape=(1, 4, 6),
                dtype_numpy="<u2",
                parameters={"dataset": "/d"},
            ),
            StreamResourceInfo(
                data_key=f"{datakey_name}_n",
                shape=(),
                chunk_shape=(8,),
                dtype_numpy="<u4",
                parameters={"dataset": "/n"},
            ),
        ]
        return StreamResourceDataProvider(
            uri="file://localhost/data/d.h5",
            resources=resources,
            mimetype="application/x-hdf5",
            collections_written_signal=self.written,
        )


class Detector(SegmentedDetector):
    """Its frames come when the test says so."""

    def __init__(self, name):
        self.written, self.come = soft_signal_r_and_setter(int, 0)
        self.acquire = Acquire()
        self.add_detector_logics(Trigger(), self.acquire, Data(self.written))
        super().__init__(name=name)

    async def begin(self, count):
        await self.events_to_kickoff.set(count)
        await self.kickoff()

    async def documents(self):
        return [document async for document in self.collect_asset_docs()]


@pytest.fixture
async def detector():
    made = Detector("det")
    await made.connect()
    await made.stage()
    info = TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=10, exposure_timeout=0.2)
    await made.prepare(info)
    await made.stall_timeout.set(0.02)
    return made


async def test_rows_are_described_as_they_are(detector):
    keys = await detector.describe_collect()
    assert (keys["det"]["shape"], keys["det_n"]["shape"]) == ([4, 6], [])
    assert (keys["det"]["dtype_numpy"], keys["det"]["dtype"]) == ("<u2", "array")


async def test_each_segment_has_its_own_resource_slice_and_indices(detector):
    told = []
    for start, count in ((0, 3), (3, 7)):
        await detector.begin(count)
        detector.come(start + 1)
        first = await detector.documents()
        detector.come(start + count)
        await detector.complete()
        told.append(first + await detector.documents())
        assert await detector.documents() == []
    for documents, expected in zip(told, ("0:3", "3:10"), strict=True):
        resources = [doc for name, doc in documents if name == "stream_resource"]
        data = [doc for name, doc in documents if name == "stream_datum"]
        assert [doc["parameters"] for doc in resources] == [
            {"dataset": "/d", "chunk_shape": [1, 4, 6], "slice": expected},
            {"dataset": "/n", "chunk_shape": [8], "slice": expected},
        ]
        assert {doc["data_key"] for doc in resources} == {"det", "det_n"}
        assert [tuple(doc["indices"].values()) for doc in data[:2]] == [(0, 1), (0, 1)]
        assert data[-1]["indices"]["start"] == 1
        assert {doc["stream_resource"] for doc in data} == {doc["uid"] for doc in resources}
    assert told[0][0][1]["uid"] != told[1][0][1]["uid"]
    assert (detector.acquire.armings, detector.acquire.idle) == (1, 1)


async def test_a_lost_frame_is_not_waited_for_once_the_triggers_are_over(detector):
    await detector.begin(5)
    completing = detector.complete()
    detector.come(2)
    await detector.triggers_done.set(True)
    await asyncio.sleep(0.01)
    detector.come(4)
    await completing
    assert await detector.frames_missing.get_value() == 1
    assert await detector.get_index() == 4


async def test_frames_that_came_while_the_event_loop_was_held_up_are_not_lost(detector, monkeypatch):
    """A loop that was held up for longer finds the time-out together with the news of frames."""
    await detector.stall_timeout.set(100.0)
    await detector.begin(10)
    completing = detector.complete()
    detector.come(4)
    await detector.triggers_done.set(True)
    for _ in range(20):
        await asyncio.sleep(0)  # until it waits for more
    loop = asyncio.get_running_loop()
    loop.call_soon(detector.come, 10)
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + 1000)
    await completing
    assert await detector.frames_missing.get_value() == 0


async def test_the_segment_behind_a_lost_frame_is_counted_from_its_own_start(detector):
    await detector.begin(3)
    detector.come(2)
    await detector.triggers_done.set(True)
    await detector.complete()
    await detector.begin(4)
    assert await detector.frames_missing.get_value() == 0
    assert not await detector.triggers_done.get_value()
    detector.come(6)
    await detector.complete()
    documents = await detector.documents()
    assert documents[0][1]["parameters"]["slice"] == "2:6"
    assert documents[-1][1]["indices"] == {"start": 0, "stop": 4}


async def test_without_any_frame_complete_ends_too(detector):
    await detector.begin(3)
    await detector.triggers_done.set(True)
    await detector.complete()
    assert await detector.frames_missing.get_value() == 3
    assert await detector.documents() == []


async def test_abandoning_ends_complete_at_once(detector):
    await detector.stall_timeout.set(100.0)
    await detector.begin(3)
    completing = detector.complete()
    detector.come(1)
    await asyncio.sleep(0)
    await detector.abandon()
    await completing
    assert await detector.frames_missing.get_value() == 2


async def test_a_scan_that_ends_while_it_asks_for_the_index_leaves_no_coroutine_behind(detector):
    await detector.begin(3)
    detector.come(2)
    asked = detector.get_index()  # the RunEngine may be told to end before it waits for this
    assert not asyncio.iscoroutine(asked)
    assert await maybe_await(asked) == 2


async def test_while_triggers_are_expected_the_exposure_timeout_is_the_longest_wait(detector):
    await detector.begin(3)
    detector.come(1)
    with pytest.raises(AcquisitionError, match=r"det: no frame for 0.2 s, 1 of 3 frames"):
        await detector.complete()
    assert await detector.frames_missing.get_value() == 2


async def test_a_frame_that_comes_late_belongs_to_no_segment_and_is_counted(detector):
    await detector.begin(3)
    detector.come(2)
    await detector.triggers_done.set(True)
    await detector.complete()
    detector.come(3)
    await detector.begin(4)
    assert await detector.frames_late.get_value() == 1
    detector.come(7)
    await detector.complete()
    assert (await detector.documents())[0][1]["parameters"]["slice"] == "3:7"


async def test_a_frame_that_nobody_triggered_is_an_error(detector):
    await detector.begin(3)
    detector.come(3)
    await detector.complete()
    detector.come(5)
    with pytest.raises(AcquisitionError, match=r"det: 2 frame\(s\) came between two segments without a trigger"):
        await detector.begin(3)


async def test_more_frames_than_the_segment_has_are_not_documented_in_it(detector):
    await detector.begin(3)
    detector.come(4)
    await detector.complete()
    assert (await detector.documents())[-1][1]["indices"]["stop"] == 3


async def test_completing_without_a_kickoff_is_an_error(detector):
    with pytest.raises(AcquisitionError, match="before its kickoff"):
        await detector.complete()


async def test_arming_again_forgets_the_segments_before(detector):
    await detector.begin(3)
    detector.come(3)
    await detector.complete()
    await detector.stage()
    detector.come(0)
    await detector.prepare(TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=2, exposure_timeout=1))
    await detector.begin(2)
    detector.come(2)
    await detector.complete()
    assert (await detector.documents())[0][1]["parameters"]["slice"] == "0:2"


async def test_frames_of_an_earlier_arming_that_arming_forgets_are_not_counted(detector, monkeypatch):
    """As LIMA's are: its count begins anew when it is armed, and not before."""

    async def forget():
        detector.come(0)

    detector.come(7)
    monkeypatch.setattr(detector.acquire, "start_acquiring", forget)
    await detector.stage()
    await detector.prepare(TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=6, exposure_timeout=1))
    await detector.begin(3)
    detector.come(3)
    await detector.complete()
    assert (await detector.documents())[0][1]["parameters"]["slice"] == "0:3"
    detector.come(5)
    with pytest.raises(AcquisitionError, match=r"det: 2 frame\(s\) came between two segments without a trigger"):
        await detector.begin(3)


async def test_a_logic_that_provides_no_datasets_is_refused():
    class Nothing(DetectorDataLogic):
        async def prepare_unbounded(self, datakey_name):
            return object()

    with pytest.raises(TypeError, match="cannot be told in segments"):
        await SegmentedDataLogic(Nothing()).prepare_unbounded("det")


def test_one_arming_gives_four_streams_with_their_slices(engine, gates):
    camera = engine.beamline.cameras["orca"]
    plan = {"dark": 3, "flat": 4, "proj": 5, "flat_after": 2}

    def scan():
        @bpp.stage_decorator([camera, engine.beamline.panda, engine.seq])
        @bpp.run_decorator(md={"segments": [{"name": n, "num": k, "kind": "data"} for n, k in plan.items()]})
        def inner():
            yield from engine.arm(sum(plan.values()), camera)
            for name, num in plan.items():
                yield from engine.segment(name, num, camera, rows=gates(num))

        yield from inner()

    for number in (1, 2):
        engine.paths.number = number
        engine(scan())
        record = fold(engine.documents)
        assert record.status == "complete"
        assert record.stop["num_events"] == plan
        starts = {segment.name: (segment.external["orca"].start, len(segment)) for segment in record.segments}
        assert starts == {"dark": (0, 3), "flat": (3, 4), "proj": (7, 5), "flat_after": (12, 2)}
        assert all(segment.external["tom_ry_mean"].start == starts[segment.name][0] for segment in record.segments)
        slices = [doc["parameters"]["slice"] for name, doc in engine.documents if name == "stream_resource"]
        assert sorted(set(slices)) == ["0:3", "12:14", "3:7", "7:12"]
        assert record.segments[0].external["orca"].shape == (8, 16)
    world = engine.beamline.twin.world
    assert world.armings["orca"] == 2


def test_a_lost_frame_shortens_its_own_segment_alone(engine, gates):
    camera = engine.beamline.cameras["orca"]
    engine.beamline.twin.faults.lose_frames("orca", 1, 4)
    missing = {}

    def scan():
        @bpp.stage_decorator([camera, engine.beamline.panda, engine.seq])
        @bpp.run_decorator()
        def inner():
            yield from engine.arm(9, camera)
            for name in ("one", "two", "three"):
                yield from engine.segment(name, 3, camera, rows=gates(3))
                missing[name] = yield from bps.rd(camera.frames_missing)
                assert (yield from bps.rd(engine.beamline.panda.frames_missing)) == 0

        yield from inner()

    engine(scan())
    record = fold(engine.documents)
    assert missing == {"one": 1, "two": 1, "three": 0}
    assert record.stop["num_events"] == {"one": 2, "two": 2, "three": 3}
    frames = {s.name: (s.external["orca"].start, s.external["orca"].stop) for s in record.segments}
    rows = {s.name: (s.external["tom_ry_mean"].start, s.external["tom_ry_mean"].stop) for s in record.segments}
    assert frames == {"one": (0, 2), "two": (2, 4), "three": (4, 7)}
    assert rows == {"one": (0, 2), "two": (3, 5), "three": (6, 9)}


def test_a_stalled_camera_does_not_hang_the_segment(engine, gates):
    camera = engine.beamline.cameras["orca"]
    engine.beamline.twin.faults.stall("orca", after=2)
    counted = {}

    def scan():
        @bpp.stage_decorator([camera, engine.beamline.panda, engine.seq])
        @bpp.run_decorator()
        def inner():
            yield from engine.arm(5, camera)
            yield from engine.segment("proj", 5, camera, rows=gates(5))
            counted["missing"] = yield from bps.rd(camera.frames_missing)
            counted["triggered"] = yield from bps.rd(camera.frames_triggered)

        yield from inner()

    engine(scan())
    assert fold(engine.documents).stop["num_events"] == {"proj": 2}
    assert counted == {"missing": 3, "triggered": 2}
