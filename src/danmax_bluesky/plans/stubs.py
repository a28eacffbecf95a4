"""Single verbs of which scans are made: arm, open the shutter, move the sample out, wait for the beam."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.protocols import Stageable
from bluesky.utils import (
    FailedPause,
    Msg,
    MsgGenerator,
    RunEngineControlException,
    make_decorator,
    root_ancestor,
    separate_devices,
)
from ophyd_async.core import DetectorTrigger, TriggerInfo

from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import DeviceError, PreflightError, ScanError
from danmax_bluesky.plans.guards import Quietly
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.user_devices import AnyMotor, put_back, read_user_position

BEAM_POLL_S = 1.0
CLOSING_TRIES, CLOSING_EVERY_S = 4, 2.0
TIDYING_TRIES = 3
CONDITION_POLL_S = 0.1
STABLE_READINGS = 10
STABLE_TO = 0.002
LONGEST_CONDITION_S = 600.0
LONGEST_WAIT_FOR_A_FRAME_S = 10.0
log = logging.getLogger(__name__)
T = TypeVar("T")


def arm(rig: Rig, total: int, longest_wait_s: float = 60.0, encoder_of: str = "") -> MsgGenerator[None]:
    """Arm every detector and the PandA once, for all frames of the run; each gate is an exposure.

    Args:
        rig: the devices, staged.
        total: number of frames of all segments that will be taken under this arming.
        longest_wait_s: the longest time between two exposures of one segment, seconds.
        encoder_of: name of the motor by whose encoder the sequencer triggers; "" takes the rotation.
    """
    source = rig.encoders[encoder_of][1] if encoder_of in rig.encoders else rig.position_source
    timeout = longest_wait_s + LONGEST_WAIT_FOR_A_FRAME_S
    info = TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=total, exposure_timeout=timeout)
    yield from bps.abs_set(rig.panda.seq[1].posa, source, wait=True)
    for detector in (*rig.detectors, rig.panda):
        yield from bps.prepare(detector, info, group="arm")
    yield from bps.wait(group="arm")


def require_rearmable_detectors(rig: Rig) -> None:
    """Refuse a scan that arms at every point if a detector cannot be used so.

    Raises:
        ScanError: it begins a new file with each arming.
    """
    if names := [detector.name for detector in rig.detectors if not detector.rearms]:
        raise ScanError(
            f"{', '.join(names)}: begins a new file whenever it is armed, which this scan does at every point; take "
            "one that arms once and is gated by the PandA: azint_scan with continuous=True, azint_count without until, "
            "ct, or tomo_scan"
        )


def open_shutter(rig: Rig) -> MsgGenerator[None]:
    """Let the beam through."""
    yield from bps.abs_set(rig.shutter, "open", wait=True)


def close_shutter(rig: Rig) -> MsgGenerator[None]:
    """Keep the beam out."""
    yield from bps.abs_set(rig.shutter, "closed", wait=True)


def surely(tidy: Callable[[], MsgGenerator[Any]]) -> MsgGenerator[None]:
    """Put something right to its end, whatever is thrown at the plan meanwhile; that is raised afterwards.

    An abort or a stop reaches a plan once, at whatever it does. If it is putting the sample back then, the sample must
    not stay where it is: it begins again. `RE.halt()` alone leaves everything as it is. An error, which may be that of
    another device, makes it try again too, but not for ever.

    Args:
        tidy: makes the plan; it may run several times, and has to end in the same state each time.
    """
    thrown: Exception | None = None
    errors = 0
    while True:
        try:
            yield from tidy()
        except (RunEngineControlException, FailedPause) as ended:
            thrown = ended
        except Exception as error:
            errors += 1
            if errors == TIDYING_TRIES:
                raise
            thrown = thrown or error
        else:
            break
    if thrown is not None:
        raise thrown


def _staged(plan: MsgGenerator[T], devices: Sequence[Any]) -> MsgGenerator[T]:
    stageable = [device for device in devices if isinstance(device, Stageable)]
    devices = separate_devices(root_ancestor(device) for device in stageable)

    def whole() -> MsgGenerator[T]:
        yield from bps.stage_all(*devices)
        return (yield from plan)

    return (yield from bpp.finalize_wrapper(whole(), lambda: surely(lambda: bps.unstage_all(*reversed(devices)))))


def monitored(plan: MsgGenerator[T], signals: Sequence[Any]) -> MsgGenerator[T]:
    """Note every value of some signals while a run is open, each signal in a stream of its own.

    The RunEngine ends the monitors when it closes the run. Bluesky's own wrapper ends each of them before, also one
    that has not begun because of an error or an end in between, and that complaint takes the place of the error.
    """

    def begin(message: Msg) -> tuple[None, MsgGenerator[None] | None]:
        return None, _begin_monitors(signals) if message.command == "open_run" else None

    result: Any = yield from bpp.plan_mutator(plan, begin)
    return result


def _begin_monitors(signals: Sequence[Any]) -> MsgGenerator[None]:
    for signal in signals:
        yield from bps.monitor(signal, name=f"{signal.name}_monitor")


staged: Any = make_decorator(_staged)
"""Decorates a plan with the devices that are staged before it, and unstaged after it to the last of them.

Bluesky's own leaves devices staged, or unstages them while the next plan begins, if an end is asked for meanwhile.
"""


def end_safely(rig: Rig, positions: Sequence[tuple[str, float]] = ()) -> MsgGenerator[None]:
    """What a scan ends with, however it ended: the shutter closed, and then the motors put back.

    A shutter that does not answer is asked again for some seconds, and the motors are put back in any case. An end that
    is asked for meanwhile changes nothing of that.
    """
    yield from bpp.finalize_wrapper(surely(lambda: _close_surely(rig)), lambda: restore_positions(rig, positions))


def _close_surely(rig: Rig) -> MsgGenerator[None]:
    for _ in range(CLOSING_TRIES - 1):
        try:
            return (yield from close_shutter(rig))
        except RunEngineControlException:
            raise
        except Exception as error:
            log.warning("the shutter is not closed, and is asked again: %s", error)
        yield from bps.sleep(CLOSING_EVERY_S)
    yield from close_shutter(rig)


def shut(rig: Rig) -> MsgGenerator[None]:
    """Close the shutter before anything else is done about an error, which stays the one that is seen.

    A shutter that does not answer holds up nothing: `end_safely` asks it again.
    """
    yield from bps.wait_for([rig.shutter.shut])


def in_the_beam(rig: Rig, plan: MsgGenerator[None]) -> MsgGenerator[None]:
    """A plan with the shutter open, and closed again as soon as the plan is over, however it ends."""

    def opened() -> MsgGenerator[None]:
        yield from open_shutter(rig)
        yield from plan

    yield from bpp.contingency_wrapper(
        opened(), except_plan=lambda _error: surely(lambda: shut(rig)), else_plan=lambda: close_shutter(rig)
    )


def read_setpoints(rig: Rig, motors: Sequence[str]) -> MsgGenerator[tuple[tuple[str, float], ...]]:
    """Where these motors stand, in their order: what `restore_positions` takes; until then they count as away.

    A later session does not know the devices of a user's own, so that those never count as away.
    """
    positions = []
    for name in motors:
        positions.append((name, (yield from read_position(rig.mover(name)))))
    rig.homes.depart((name, position) for name, position in positions if name in rig.motors)
    return tuple(positions)


def read_position(motor: AnyMotor) -> MsgGenerator[float]:
    """Where a motor rests, in its units: where it was sent, unless its readback says that it is elsewhere.

    A motor that was stopped on its way, or moved by another program, is not where it was sent last. One that arrived is
    taken to be exactly there, so that it does not wander when it is put back again and again.

    Raises:
        DeviceError: it moves.
        ScanError: it is a device of a user's own, whose position cannot be read.
    """
    if not isinstance(motor, MotorDevice):
        return (yield from read_user_position(motor))
    location: Any = yield Msg("locate", motor)
    at, sent_to = float(location["readback"]), float(location["setpoint"])
    if (yield from bps.rd(motor.moving)):
        raise DeviceError(
            f"{motor.name}: moves, and is at {at:g} now; wait until it rests, or stop it, and begin again"
        )
    return sent_to if abs(at - sent_to) <= motor.tolerance else at


def move_in_order(rig: Rig, moves: Sequence[tuple[str, float]]) -> MsgGenerator[None]:
    """Move one motor after the other."""
    for name, position in moves:
        yield from bps.mv(rig.motor(name), position)


def restore_positions(rig: Rig, positions: Sequence[tuple[str, float]]) -> MsgGenerator[None]:
    """Undo `move_in_order`, whatever happens meanwhile: the motor that moved last goes back first.

    Each is stopped before, should it still be on its way. One that fails keeps those after it from moving.
    """

    def back() -> MsgGenerator[None]:
        for name, position in reversed(positions):
            motor = rig.mover(name)
            if not isinstance(motor, MotorDevice):
                yield from put_back(motor, position)
                continue
            yield from bps.stop(Quietly(motor))  # it may be on its way, or just about to begin
            if abs((yield from bps.rd(motor)) - position) > motor.tolerance:
                yield from bps.mv(motor, position)
        rig.homes.arrived((name, position) for name, position in positions if name in rig.motors)

    yield from surely(back)


def nothing_is_away(rig: Rig) -> MsgGenerator[None]:
    """Refuse to measure while a motor is not back from an earlier scan, before anything moves.

    Raises:
        PreflightError: a motor stands elsewhere than before a scan that could not bring it back.
    """
    findings = []
    for name, home in rig.homes.away.items():
        if name not in rig.motors:
            continue  # a session without this motor does not know where it stands
        at = float((yield from bps.rd(rig.motors[name])))
        if abs(at - home) <= rig.motors[name].tolerance:
            rig.homes.forget([name])
        else:
            findings.append(rig.homes.displaced(name, at))
    if findings:
        raise PreflightError(findings)


def wait_until_stable(rig: Rig) -> MsgGenerator[bool]:
    """Wait, with the shutter open, until the beam monitor reads the same for a while.

    Returns:
        whether it did; False after the longest time that is waited.

    Raises:
        ScanError: there is no beam monitor.
    """
    if rig.monitor is None:
        raise ScanError("condition 'stable': there is no beam monitor; give condition in seconds")
    read: list[float] = []
    for _ in range(round(LONGEST_CONDITION_S / CONDITION_POLL_S)):
        read.append(float((yield from bps.rd(rig.monitor))))
        if is_stable(read):
            return True
        yield from bps.sleep(CONDITION_POLL_S)
    log.warning(
        "condition 'stable': the beam monitor was not stable to %g %% after %g s; the flats are taken all the same",
        100 * STABLE_TO,
        LONGEST_CONDITION_S,
    )
    return False


def is_stable(readings: Sequence[float]) -> bool:
    """Whether the latest readings of a beam monitor, the oldest first, are above zero and agree with each other."""
    latest = readings[-STABLE_READINGS:]
    return len(latest) == STABLE_READINGS and max(latest) > 0 and max(latest) - min(latest) <= STABLE_TO * max(latest)


def wait_for_beam(rig: Rig) -> MsgGenerator[None]:
    """Wait, before a phase begins, until there is beam; the arming is kept meanwhile."""
    while (yield from bps.rd(rig.ring_current)) < rig.min_ring_current_ma:
        yield from bps.sleep(BEAM_POLL_S)


def position_units(motor: MotorDevice) -> MsgGenerator[str]:
    """Units of a motor's position, "" where its control system does not tell them."""
    described: list[dict[str, Any]] = []

    async def ask() -> None:
        described.append(await motor.readback.describe())

    yield from bps.wait_for([ask])
    return str(next(iter(described[0].values())).get("units") or "")
