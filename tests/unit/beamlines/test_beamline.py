import asyncio
import threading

import pytest
from ophyd_async.core import DetectorTrigger, TriggerInfo
from ophyd_async.fastcs.panda import SeqTableInfo

from danmax_bluesky.beamlines import twin
from danmax_bluesky.beamlines.beamline import make_beamline
from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.panda import sequencer
from danmax_bluesky.errors import DanmaxError, DeviceError
from danmax_bluesky.twin import camera as twin_camera


def test_devices_have_the_names_of_the_settings(engine):
    beamline = engine.beamline
    assert list(beamline.motors) == ["tom_ry", "tom_sam_x", "tom_sam_y", "tom_sam_z"]
    assert list(beamline.cameras) == ["orca", "pilatus"]
    assert all(name == device.name for name, device in beamline.devices.items())
    assert {"panda", "fast_shutter", "ring_current"} < set(beamline.devices)
    assert beamline.rotation is beamline.motors["tom_ry"]


@pytest.mark.parametrize("options", [{"motors.furnace.units": "K", "motors.tom_sam_x.tolerance": 0.02}])
async def test_motors_arrive_within_the_tolerance_of_the_settings(beamline):
    tolerances = {name: motor.movable_logic.tolerance for name, motor in beamline.motors.items()}
    assert (tolerances["furnace"], tolerances["tom_sam_x"], tolerances["tom_ry"]) == (0.5, 0.02, 0.001)


async def test_closing_ends_the_processes_and_may_be_repeated(beamline):
    processes = [camera._process for camera in beamline.twin.world.cameras.values()]
    beamline.close()
    beamline.close()
    assert [process.commands[-1] for process in processes] == ["close", "close"]


def test_closing_works_from_another_thread_and_without_a_loop(engine):
    process = engine.beamline.twin.world.cameras["orca"]._process
    thread = threading.Thread(target=engine.beamline.close)
    thread.start()
    thread.join()
    assert process.commands == ["close"]


async def test_the_real_beamline_needs_addresses(paths):
    with pytest.raises(DanmaxError, match="beamline 'danmax' needs the PV prefix of its PandA"):
        await make_beamline(load_settings(options={"beamline": "danmax"}), paths)


async def test_a_camera_that_cannot_start_is_an_error_and_leaves_nothing_behind(paths):
    closed = []

    class Broken:
        def __init__(self, name, config, on_event):
            self.name, self.tell = name, on_event

        def start(self):
            event = {"event": "error", "message": "no such calibrant"} if self.name == "pilatus" else {"event": "ready"}
            self.tell(event)

        def close(self):
            closed.append(self.name)

    with pytest.raises(DeviceError, match="pilatus: no such calibrant"):
        await twin.make(load_settings(options={"twin.clock": "fast"}), paths, make_process=Broken)
    assert sorted(closed) == ["orca", "pilatus"]


def level(num):
    return TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=num, exposure_timeout=1)


async def exposed(beamline, table, num, name="orca"):
    """Expose by a table, and give what the camera was told."""
    camera, seq = beamline.cameras[name], sequencer(beamline.panda)
    await camera.stage()
    await camera.prepare(level(num))
    await seq.prepare(SeqTableInfo(sequence_table=table, repeats=1))
    await seq.kickoff()
    await seq.complete()
    await camera.unstage()
    parts = beamline.twin.world.cameras[name]._process.gates
    return {column: [value for part in parts for value in part[column]] for column in parts[0]}


async def test_an_exposure_is_told_what_is_true(beamline, gates):
    await beamline.rotation.set(33.25)
    await beamline.motors["tom_sam_x"].set(1.5)
    await beamline.motors["tom_sam_y"].set(-2.5)
    await beamline.motors["tom_sam_z"].set(0.25)
    await beamline.shutter.set("open")
    told = await exposed(beamline, gates(2), 2)
    assert set(told) == {
        "start_ns", "end_ns", "trigger", "angle_deg", "open", "x_mm", "y_mm", "z_mm", "beam", "lost",
    }  # fmt: skip
    assert told["angle_deg"] == [33.25, 33.25]
    assert (told["x_mm"][0], told["y_mm"][0], told["z_mm"][0]) == (1.5, -2.5, 0.25)
    assert (told["trigger"], told["open"], told["beam"], told["lost"]) == ([0, 1], [1, 1], [1.0, 1.0], [0, 0])
    assert told["end_ns"][0] - told["start_ns"][0] == 1_000_000


@pytest.mark.parametrize("options", [{"twin.clock": "fast", "detectors.pilatus.trigger_output": "b"}])
async def test_each_camera_listens_to_its_own_line(beamline, gates):
    orca, pilatus = beamline.cameras.values()
    for camera in (orca, pilatus):
        await camera.stage()
        await camera.prepare(level(5))
    table = gates(3) + gates(2, high_us=5000, low_us=5000, outb1=True)
    seq = sequencer(beamline.panda)
    await seq.prepare(SeqTableInfo(sequence_table=table, repeats=1))
    await seq.kickoff()
    await seq.complete()
    exposures = beamline.twin.world.exposures
    assert exposures["orca"]["trigger"].tolist() == [0, 1, 2, 3, 4]
    assert exposures["pilatus"]["trigger"].tolist() == [0, 1]
    for camera in (orca, pilatus):
        await camera.unstage()


async def test_faults_hit_their_triggers_and_can_be_repaired(beamline, gates):
    faults = beamline.twin.faults
    faults.lose_frames("orca", 1)
    faults.stall("orca", after=4)
    faults.dump_beam_between(2, 3)
    told = await exposed(beamline, gates(6, low_us=2000), 6)
    assert told["lost"] == [0, 1, 0, 0, 1, 1]
    assert told["beam"] == [1, 1, 0, 0, 1, 1]
    assert await beamline.cameras["orca"].frames_triggered.get_value() == 4
    faults.clear()
    beamline.twin.world.cameras["orca"]._process.gates.clear()
    told = await exposed(beamline, gates(6, low_us=2000), 6)
    assert told["lost"] == [0] * 6
    assert told["beam"] == [1.0] * 6


async def test_a_dumped_beam_is_seen_by_exposures_and_by_the_ring_current(beamline, gates):
    beamline.twin.faults.dump_beam()
    assert (await exposed(beamline, gates(1), 1))["beam"] == [0.0]
    assert await beamline.ring_current.current.get_value() == 0.0


async def test_an_encoder_can_be_made_to_wrap_anywhere(beamline):
    world = beamline.twin.world
    beamline.twin.faults.wrap_encoder_at(45.0)
    encoder = world._encoder
    await beamline.rotation.set(44.999)
    before = encoder.register_at(world.clock.now_ns())
    await beamline.rotation.set(45.001)
    after = encoder.register_at(world.clock.now_ns())
    assert before > 2**31 - 2e4
    assert after < -(2**31) + 2e4
    assert before / encoder.counts_per_unit + world.offset_deg == pytest.approx(44.999, abs=1e-6)
    beamline.twin.faults.clear()
    assert world.offset_deg == -50.0


async def test_a_late_server_tells_late_but_tells(beamline, gates):
    orca = beamline.cameras["orca"]
    beamline.twin.faults.answer_late("orca", 0.05)
    await orca.stage()
    await orca.prepare(level(2))
    await orca.events_to_kickoff.set(2)
    await orca.kickoff()
    await beamline.panda.seq[1].table.set(gates(2, low_us=2000))
    await beamline.panda.seq[1].enable.set("ONE")
    await asyncio.sleep(0.02)
    assert await orca.frames_written.get_value() == 0
    await orca.complete()
    assert await orca.frames_missing.get_value() == 0
    await orca.unstage()


async def test_a_camera_whose_process_died_says_so_and_comes_back_when_it_is_staged(beamline):
    orca, virtual = beamline.cameras["orca"], beamline.twin.world.cameras["orca"]
    died = virtual._process
    await orca.stage()
    await orca.prepare(level(2))
    died.tell({"event": "died", "message": "orca: the camera's process ended by signal 9"})
    await asyncio.sleep(0.01)
    assert not await orca.armed.get_value()
    with pytest.raises(DeviceError, match="ended by signal 9; stage the camera"):
        await orca.prepare(level(2))
    await orca.unstage()
    assert died.commands[-1] == "close"
    assert virtual._process is not died
    await orca.stage()
    await orca.prepare(level(2))
    assert await orca.armed.get_value()
    await orca.unstage()


async def test_a_full_disk_is_told_when_the_camera_is_armed(beamline):
    orca = beamline.cameras["orca"]
    process = beamline.twin.world.cameras["orca"]._process
    process.arm = lambda path, num: process.tell({"event": "error", "message": "no space left on device"})
    await orca.stage()
    with pytest.raises(DeviceError, match="orca: no space left on device"):
        await orca.prepare(level(2))
    await orca.unstage()


async def test_a_camera_that_takes_long_to_arm_is_waited_for(beamline, monkeypatch):
    monkeypatch.setattr(twin_camera, "COMMAND_S", 0.01)
    orca = beamline.cameras["orca"]
    process = beamline.twin.world.cameras["orca"]._process
    loop = asyncio.get_running_loop()
    process.arm = lambda path, num: loop.call_later(0.05, process.tell, {"event": "armed"})
    await orca.stage()
    await orca.prepare(level(2))
    assert await orca.armed.get_value()
    await orca.unstage()


async def test_a_camera_can_be_disarmed_while_it_arms(beamline, monkeypatch):
    monkeypatch.setattr(twin_camera, "COMMAND_S", 0.01)
    orca = beamline.cameras["orca"]
    process = beamline.twin.world.cameras["orca"]._process
    asked = asyncio.Event()
    arm, process.arm = process.arm, lambda path, num: asked.set()
    await orca.stage()
    preparing = orca.prepare(level(2))
    await asyncio.wait_for(asked.wait(), 60)
    preparing.task.cancel()
    await orca.unstage()
    assert process.commands[-1] == "disarm"
    process.arm = arm
    await orca.stage()
    await orca.prepare(level(2))
    await orca.unstage()


async def test_the_twin_has_a_value_for_every_name_of_the_snapshot(beamline):
    snapshot = beamline.snapshot[-1]
    keys, readings = await snapshot.describe(), await snapshot.read()
    energy_ev = 1000.0 * beamline.settings.source.energy_kev
    assert (readings["hdcm_energy"]["value"], keys["hdcm_energy"]["units"]) == (energy_ev, "eV")
    assert readings["snapshot_missing"]["value"] == ""
    assert set(beamline.settings.snapshot) < set(readings)


async def test_the_shutter_takes_its_time(beamline):
    world = beamline.twin.world
    begin = world.clock.now_ns()
    await beamline.shutter.set("open")
    assert world.clock.now_ns() - begin >= 5_000_000
    assert world.shutter.state.at(begin + 4_999_999) == 0
