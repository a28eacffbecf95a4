"""Plans beside which a value around the sample, such as the temperature of a furnace, follows a program."""

import logging
import math
from typing import Any, TypeVar

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator

from danmax_bluesky.devices.environment import EnvironmentChannel
from danmax_bluesky.devices.setpoint_program import ProgramRunner, SetpointProgram, parse_ramps
from danmax_bluesky.errors import AcquisitionError, PreflightError, ScanError
from danmax_bluesky.plans.guards import Quietly
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import surely

log = logging.getLogger(__name__)
T = TypeVar("T")
LOOK_EVERY_S = 0.1


def beside_program(
    rig: Rig, channel: str, program: str, plan: MsgGenerator[T], *, wait: bool = False
) -> MsgGenerator[T]:
    """Measure while a value around the sample follows a program: `beside_program(rig, "furnace", "500 at 10", plan)`.

    The program begins with the plan, from the value that there is then. When the plan ends, in whatever way, the
    setpoint stays where it is then, and the log says where that is. A pause holds the setpoint until the plan goes on.

    Args:
        rig: the devices.
        channel: name of the value in the settings (`environment`).
        program: target, rate in units/min, and how long it is held in seconds: "500 at 10 for 300; 300 at 20".
        plan: what is measured, any plan.
        wait: when the plan has come to its end, wait until the program is over too.

    Raises:
        ScanError: there is no such value, it cannot be set, or the program is not understood.
        PreflightError: a setpoint or a rate is out of the limits of the settings.
        AcquisitionError: the program could not go on; everything was measured.
    """
    device, steps = yield from planned_program(rig, channel, program)
    return (yield from _beside(device, steps, program, plan, wait))


def planned_program(rig: Rig, channel: str, program: str) -> MsgGenerator[tuple[EnvironmentChannel, SetpointProgram]]:
    """A value, and its program from where it is now; nothing is set.

    Raises:
        ScanError: there is no such value, it cannot be set, it is not known now, or the program is not understood.
        PreflightError: a setpoint or a rate is out of the limits of the settings.
    """
    device = rig.environment.get(channel)
    if device is None:
        there = ", ".join(rig.environment) or "none; add environment.<name> to the settings"
        raise ScanError(f"channel = {channel!r}: there is no such value around the sample; there is {there}")
    settings = device.settings
    if settings.limits is None or not device.can_be_set:
        raise ScanError(
            f"channel = {channel!r}: it is only read; a program needs environment.{channel}.limits in the settings, "
            f"and at a beamline environment.{channel}.setpoint"
        )
    ramps = parse_ramps(program)
    low, high = settings.limits
    findings = [
        f"program, step {number}: {channel} = {ramp.target:g} is outside environment.{channel}.limits, {low:g} to "
        f"{high:g}; stay within them"
        for number, ramp in enumerate(ramps, 1)
        if not low <= ramp.target <= high
    ]
    findings += [
        f"program, step {number}: {ramp.rate_per_min:g} units/min is faster than environment.{channel}.max_rate, "
        f"{settings.max_rate:g}; ramp slower"
        for number, ramp in enumerate(ramps, 1)
        if settings.max_rate is not None and ramp.rate_per_min > settings.max_rate
    ]
    if findings:
        raise PreflightError(findings)
    reading: Any = yield from bps.rd(device)
    if not math.isfinite(reading):
        raise ScanError(f"channel = {channel!r}: it does not say what it is now, so no ramp can begin there; see to it")
    if reading > high:
        raise PreflightError(
            [
                f"{channel} is {reading:g}, above environment.{channel}.limits, {low:g} to {high:g}, and a program "
                "begins where it is; see to its sensor, or bring it down first"
            ]
        )
    return device, SetpointProgram(max(float(reading), low), ramps)


def _refuse_another_program(message: Msg) -> Msg:
    if message.command == "open_run" and "program" in message.kwargs:
        raise AcquisitionError("a program runs inside another one, and a run can tell of one only; give one of them")
    return message


def _beside(
    device: EnvironmentChannel, steps: SetpointProgram, text: str, plan: MsgGenerator[T], wait: bool
) -> MsgGenerator[T]:
    runner = ProgramRunner(device, steps)
    said = {
        "channel": device.name,
        "program": text,
        "start": steps.start,
        "corners": [list(corner) for corner in steps.corners],
    }

    def measured() -> MsgGenerator[T]:
        yield Msg("null", runner)  # so that the RunEngine knows whom to tell of a pause
        yield from bps.wait_for([runner.begin])
        result = yield from plan
        while wait and runner.runs:
            yield from bps.checkpoint()
            runner.go_on_alone()
            yield from bps.sleep(LOOK_EVERY_S)
        return result

    def end() -> MsgGenerator[None]:
        yield from surely(lambda: bps.stop(Quietly(runner)))
        log.log(logging.INFO if runner.is_over else logging.WARNING, "%s", runner.standing)

    described = bpp.inject_md_wrapper(bpp.msg_mutator(measured(), _refuse_another_program), {"program": said})
    try:
        result: Any = yield from bpp.finalize_wrapper(described, end)
    except GeneratorExit:  # halted: nothing can be said or done any more but this
        runner.let_go()
        raise
    if runner.problem:
        raise AcquisitionError(f"{device.name}: {runner.problem}; all frames that were asked for are measured")
    return result
