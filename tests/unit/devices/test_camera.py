import asyncio

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import pytest
from ophyd_async.core import DetectorTrigger, TriggerInfo, callback_on_mock_execute, set_mock_value

from danmax_bluesky.devices import camera as camera_module
from danmax_bluesky.devices.camera import Camera
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.runs.record import fold


@pytest.fixture
def orca(beamline):
    return beamline.cameras["orca"]


def level(num, **more):
    return TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=num, exposure_timeout=1, **more)


def internal(num, livetime=0.01, deadtime=0.0):
    return TriggerInfo(livetime=livetime, deadtime=deadtime, number_of_events=num, exposure_timeout=1)


async def test_what_it_writes_is_described(orca, paths):
    await orca.stage()
    await orca.prepare(level(3))
    keys = await orca.describe_collect()
    assert {name: (key["shape"], key["dtype_numpy"]) for name, key in keys.items()} == {
        "orca": ([8, 16], "<u2"),
        "orca_frame_number": ([], "<u4"),
        "orca_timestamp": ([], "<f8"),
    }
    assert orca.hints == {"fields": ["orca"]}
    assert await orca.file_path.get_value() == str(paths.folder / "scan-0001_orca.h5")
    await orca.unstage()


async def test_counting_detectors_write_signed_numbers(beamline):
    pilatus = beamline.cameras["pilatus"]
    await pilatus.stage()
    await pilatus.prepare(level(3))
    assert (await pilatus.describe_collect())["pilatus"]["dtype_numpy"] == "<i4"
    await pilatus.unstage()


async def test_preparing_arms_and_unstaging_disarms(orca):
    await orca.stage()
    assert not await orca.armed.get_value()
    await orca.prepare(level(5))
    assert await orca.armed.get_value()
    assert await orca.num_frames.get_value() == 5
    assert await orca.trigger_mode.get_value() == "EXTERNAL_LEVEL"
    await orca.unstage()
    assert not await orca.armed.get_value()


async def test_its_exposure_describes_it(orca):
    configuration = await orca.read_configuration()
    assert set(configuration) == {"orca-exposure_time", "orca-readout_time", "orca-trigger_mode"}
    triggers, deadtime = await orca.get_trigger_deadtime()
    assert deadtime == 1e-3
    assert triggers == set(DetectorTrigger)


@pytest.mark.parametrize("options", [{"twin.clock": "fast", "detectors.orca.level_trigger": False}])
async def test_a_camera_without_level_trigger_refuses_it(orca):
    await orca.stage()
    with pytest.raises(ValueError, match="EXTERNAL_LEVEL not supported by 'orca'"):
        await orca.prepare(level(1))
    await orca.unstage()


async def test_a_pause_shorter_than_its_readout_is_refused(orca):
    await orca.stage()
    with pytest.raises(DeviceError, match=r"orca: 0.0005 s between exposures is less than its readout of 0.001 s"):
        await orca.prepare(internal(1, deadtime=0.0005))
    await orca.unstage()


async def test_frames_that_it_times_by_itself(orca, beamline):
    await orca.stage()
    await orca.prepare(internal(7, livetime=0.01, deadtime=0.002))
    await orca.events_to_kickoff.set(7)
    await orca.kickoff()
    await orca.complete()
    log = beamline.twin.world.exposures["orca"]
    assert len(log) == 7
    assert set((log["end_ns"] - log["start_ns"]).tolist()) == {10_000_000}
    assert set((log["start_ns"][1:] - log["start_ns"][:-1]).tolist()) == {12_000_000}
    assert await orca.get_index() == 7
    assert await orca.frames_triggered.get_value() == 7
    await orca.unstage()


async def test_an_edge_starts_an_exposure_of_the_time_that_is_set(orca, beamline, gates):
    await orca.stage()
    info = TriggerInfo(trigger=DetectorTrigger.EXTERNAL_EDGE, livetime=0.003, number_of_events=2, exposure_timeout=1)
    await orca.prepare(info)
    await orca.events_to_kickoff.set(2)
    await orca.kickoff()
    await beamline.panda.seq[1].table.set(gates(2, high_us=10, low_us=9990))
    await beamline.panda.seq[1].enable.set("ONE")
    await orca.complete()
    log = beamline.twin.world.exposures["orca"]
    assert (log["end_ns"] - log["start_ns"]).tolist() == [3_000_000, 3_000_000]
    await orca.unstage()


async def test_gates_closer_than_the_readout_are_lost(orca, beamline, gates):
    await orca.stage()
    await orca.prepare(level(6))
    await orca.events_to_kickoff.set(6)
    await orca.kickoff()
    await beamline.panda.seq[1].table.set(gates(6, high_us=1000, low_us=500))
    await beamline.panda.seq[1].enable.set("ONE")
    completing = orca.complete()
    await orca.stall_timeout.set(0.1)
    await orca.triggers_done.set(True)
    await completing
    assert beamline.twin.world.exposures["orca"]["lost"].tolist() == [0, 1, 0, 1, 0, 1]
    assert await orca.frames_missing.get_value() == 3
    assert await orca.frames_triggered.get_value() == 6
    await orca.unstage()


async def test_a_camera_that_is_not_armed_sees_no_gate(orca, beamline, gates):
    await beamline.panda.seq[1].table.set(gates(3))
    await beamline.panda.seq[1].enable.set("ONE")
    await asyncio.sleep(0.02)
    assert len(beamline.twin.world.exposures["orca"]) == 0


async def test_a_camera_that_does_not_arm_says_so(paths, monkeypatch):
    monkeypatch.setattr(camera_module, "ARM_TIMEOUT_S", 0.05)
    camera = Camera(paths, "orca")
    await camera.connect(mock=True)
    set_mock_value(camera.dtype, "uint16")
    await camera.stage()
    with pytest.raises(DeviceError, match=r"orca: not armed after 0.05 s"):
        await camera.prepare(level(1))
    callback_on_mock_execute(camera.arm, lambda: set_mock_value(camera.armed, True))
    await camera.prepare(level(1))
    with pytest.raises(DeviceError, match=r"orca: not disarmed after 0.05 s"):
        await camera.unstage()


def test_counting_triggers_and_reads_frame_by_frame(engine):
    camera = engine.beamline.cameras["orca"]

    def plan():
        yield from bps.abs_set(camera.exposure_time, 0.02, wait=True)
        yield from bp.count([camera], 3)

    engine(plan())
    record = fold(engine.documents)
    assert record.status == "complete"
    (segment,) = record.segments
    assert (segment.external["orca"].start, segment.external["orca"].stop) == (0, 3)
    assert segment.external["orca"].shape == (8, 16)
    assert engine.beamline.twin.world.armings["orca"] == 1


def test_frames_in_one_internal_burst(engine):
    camera = engine.beamline.cameras["pilatus"]

    @bpp.stage_decorator([camera])
    @bpp.run_decorator()
    def burst():
        yield from bps.prepare(camera, internal(5), wait=True)
        yield from bps.declare_stream(camera, name="data", collect=True)
        yield from bps.kickoff(camera, wait=True)
        yield from bps.complete(camera, wait=True)
        yield from bps.collect(camera, name="data")

    engine(burst())
    assert fold(engine.documents).stop["num_events"] == {"data": 5}
