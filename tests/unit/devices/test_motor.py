import asyncio
import math

import pytest
from ophyd_async.core import FlyMotorInfo, callback_on_mock_execute, callback_on_mock_put, set_mock_value

from danmax_bluesky.devices import motor as motor_module
from danmax_bluesky.devices.motor import Motor
from danmax_bluesky.errors import DeviceError


@pytest.fixture
def rotation(beamline):
    return beamline.rotation


async def test_it_arrives_and_its_reading_bears_its_name(rotation):
    await rotation.set(12.5)
    reading = await rotation.read()
    assert reading["tom_ry"]["value"] == 12.5
    assert (await rotation.describe())["tom_ry"]["units"] == "deg"
    assert await rotation.locate() == {"setpoint": 12.5, "readback": 12.5}
    assert set(await rotation.read_configuration()) == {"tom_ry-velocity", "tom_ry-acceleration_time"}


@pytest.mark.parametrize(
    ("position", "says"),
    [
        (4000.0, "tom_ry: position 4000 deg lies outside its limits, -3600 to 3600 deg"),
        (math.nan, "tom_ry: position nan is no number"),
        (math.inf, "tom_ry: position inf is no number"),
    ],
)
async def test_it_refuses_where_it_cannot_go(rotation, position, says):
    with pytest.raises(DeviceError, match=says):
        await rotation.set(position)
    assert (await rotation.locate())["setpoint"] == 0.0


async def test_check_value_refuses_without_moving(rotation):
    await rotation.check_value(3.0)
    with pytest.raises(DeviceError, match="outside its limits"):
        await rotation.check_value(-4000.0)


async def test_a_flight_begins_before_and_ends_behind_its_sweep(rotation, beamline):
    await rotation.velocity.set(30.0)
    info = FlyMotorInfo(start_position=10, end_position=20, time_for_move=1)
    await rotation.prepare(info)
    assert (await rotation.locate())["readback"] == pytest.approx(info.ramp_up_start_pos(0.2))
    assert await rotation.velocity.get_value() == 10.0
    await rotation.kickoff()
    await rotation.complete()
    assert (await rotation.locate())["readback"] == pytest.approx(info.ramp_down_end_pos(0.2))
    assert await rotation.velocity.get_value() == 30.0


@pytest.mark.parametrize(
    ("flight", "says"),
    [
        ((3595, 3599.9, 1), "end of the run-down at 3600.39 deg"),
        ((-3599.9, -3590, 1), "start of the run-up at -3600.89 deg"),
        ((0, 1000, 1), "at 1000 deg/s is faster than its 720 deg/s"),
        ((5, 5, 1), "goes nowhere"),
    ],
)
async def test_an_impossible_flight_is_refused_before_anything_moves(rotation, flight, says):
    start, end, time = flight
    with pytest.raises(DeviceError, match=says):
        await rotation.prepare(FlyMotorInfo(start_position=start, end_position=end, time_for_move=time))
    assert (await rotation.locate())["readback"] == 0.0
    assert await rotation.velocity.get_value() == 90.0


@pytest.mark.parametrize("options", [{"twin.clock": "real"}])
class TestStopping:
    async def test_stopping_a_flight_as_a_success_ends_it_quietly(self, rotation, beamline):
        await rotation.prepare(FlyMotorInfo(start_position=1, end_position=50, time_for_move=30))
        await rotation.kickoff()
        completing = rotation.complete()
        await asyncio.sleep(0.05)
        await rotation.stop(success=True)
        await completing
        assert not await rotation.moving.get_value()
        assert (await rotation.locate())["readback"] < 5.0
        assert await rotation.velocity.get_value() == 90.0

    async def test_stopping_a_flight_as_a_failure_says_so(self, rotation):
        await rotation.prepare(FlyMotorInfo(start_position=1, end_position=50, time_for_move=30))
        await rotation.kickoff()
        completing = rotation.complete()
        await asyncio.sleep(0.05)
        await rotation.stop(success=False)
        with pytest.raises(DeviceError, match=r"tom_ry: its flight to .* deg was stopped near"):
            await completing
        assert await rotation.velocity.get_value() == 90.0

    @pytest.mark.parametrize("verb", ["stage", "unstage"])
    async def test_staging_and_unstaging_stop_a_flight(self, rotation, verb):
        await rotation.prepare(FlyMotorInfo(start_position=1, end_position=50, time_for_move=30))
        await rotation.kickoff()
        await getattr(rotation, verb)()
        assert not await rotation.moving.get_value()
        assert await rotation.velocity.get_value() == 90.0
        await rotation.unstage()

    async def test_unstaging_gives_back_the_velocity_of_a_flight_that_was_never_flown(self, rotation):
        await rotation.prepare(FlyMotorInfo(start_position=1, end_position=50, time_for_move=30))
        await rotation.unstage()
        assert await rotation.velocity.get_value() == 90.0

    async def test_a_stopped_move_raises_unless_it_was_a_success(self, rotation):
        moving = rotation.set(60.0)
        await asyncio.sleep(0.05)
        await rotation.stop(success=False)
        with pytest.raises(RuntimeError, match="tom_ry was stopped"):
            await moving
        moving = rotation.set(60.0)
        await asyncio.sleep(0.05)
        await rotation.stop(success=True)
        await moving

    async def test_it_moves_again_after_a_stop(self, rotation):
        moving = rotation.set(60.0)
        await asyncio.sleep(0.05)
        await rotation.stop(success=True)
        await moving
        await rotation.set(1.0)
        assert (await rotation.locate())["readback"] == 1.0


async def bare(tolerance=1e-3, **values):
    made = Motor("mot", tolerance=tolerance)
    await made.connect(mock=True)
    for name, value in {"low_limit": -10.0, "high_limit": 10.0, "velocity": 1.0, **values}.items():
        set_mock_value(getattr(made, name), value)
    return made


async def test_a_motor_that_rests_short_of_its_target_is_an_error(monkeypatch):
    monkeypatch.setattr(motor_module, "_GRACE_S", 0.05)
    motor = await bare()

    def fall_short(value):
        set_mock_value(motor.moving, True)
        asyncio.get_running_loop().call_later(0.01, set_mock_value, motor.readback, value / 2)
        asyncio.get_running_loop().call_later(0.02, set_mock_value, motor.moving, False)

    callback_on_mock_put(motor.setpoint, fall_short)
    with pytest.raises(DeviceError, match="came to rest at 2, 2 from 4 "):
        await motor.set(4.0)


async def test_a_readback_that_comes_after_the_state_is_waited_for():
    motor = await bare()

    def late(value):
        set_mock_value(motor.moving, True)
        asyncio.get_running_loop().call_later(0.01, set_mock_value, motor.moving, False)
        asyncio.get_running_loop().call_later(0.03, set_mock_value, motor.readback, value)

    callback_on_mock_put(motor.setpoint, late)
    await motor.set(4.0)


async def test_within_the_tolerance_is_arrived():
    motor = await bare(tolerance=0.1)
    callback_on_mock_put(motor.setpoint, lambda value: set_mock_value(motor.readback, value + 0.05))
    await motor.set(4.0)


async def test_a_motor_that_never_arrives_times_out():
    motor = await bare()
    callback_on_mock_put(motor.setpoint, lambda value: set_mock_value(motor.moving, True))
    with pytest.raises(DeviceError, match=r"stands at 0 and did not reach 4 within 0.0"):
        await motor.set(4.0, timeout=0.05)


async def test_no_velocity_is_an_error():
    motor = await bare(velocity=0.0)
    with pytest.raises(DeviceError, match="its velocity is 0"):
        await motor.set(4.0)


async def test_a_motor_that_does_not_start_to_fly_is_an_error(monkeypatch):
    monkeypatch.setattr(motor_module, "_START_S", 0.05)
    motor = await bare(max_velocity=5.0)
    await motor.prepare(FlyMotorInfo(start_position=0, end_position=2, time_for_move=1))
    callback_on_mock_put(motor.setpoint, lambda value: None)
    with pytest.raises(DeviceError, match="did not start to move"):
        await motor.kickoff()


async def test_a_motor_that_does_not_stop_is_an_error(monkeypatch):
    monkeypatch.setattr(motor_module, "_REST_S", 0.05)
    motor = await bare()
    set_mock_value(motor.moving, True)
    callback_on_mock_execute(motor.stop_motion, lambda: None)
    with pytest.raises(DeviceError, match="still moves"):
        await motor.stop(success=True)


async def test_a_move_that_is_stopped_before_it_began_never_begins(rotation):
    status = rotation.set(90.0)
    await rotation.stop(success=True)
    await status
    assert (await rotation.locate()) == {"setpoint": 0.0, "readback": 0.0}
    assert not await rotation.moving.get_value()
    await rotation.set(2.0)
    assert (await rotation.locate())["readback"] == 2.0


async def test_a_flight_that_is_stopped_before_it_was_prepared_leaves_position_and_velocity(rotation):
    await rotation.velocity.set(30.0)
    prepared = rotation.prepare(FlyMotorInfo(start_position=10, end_position=20, time_for_move=1))
    await rotation.stop(success=True)
    await prepared
    assert (await rotation.locate())["readback"] == 0.0
    assert await rotation.velocity.get_value() == 30.0
