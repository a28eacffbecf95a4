"""However a plan ends early, the session closes the shutter that it opened, and says where everything stands."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import bluesky.preprocessors as bpp
from bluesky.run_engine import RunEngine
from bluesky.utils import Msg, MsgGenerator

from danmax_bluesky.devices.homes import Homes
from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.devices.shutter import CLOSED, Shutter
from danmax_bluesky.plans.rig import Rig

LONGEST_LOOK_S = 15.0
HALTED = "; its last frames may be on disk without a document: `danmax rebuild` puts them into the files"
_MOVING = ("set", "prepare", "kickoff")
log = logging.getLogger(__name__)


class Endings:
    """Watches the plans of one RunEngine: `watch` is for its preprocessors, `see_off` for its context managers.

    A plan that is aborted or stopped, or that fails, puts its motors back by itself; one that is halted cannot, and
    neither can a plan of a user's own that does not think of it.

    Args:
        homes: told of the motors that somebody moved on purpose: by a plan that did nothing but that, to its end.
    """

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self._measured = False
        self._moved: dict[str, tuple[MotorDevice, float]] = {}
        self._shutter: Shutter | None = None
        self._over = True
        self._halted = False

    def watch(self, plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
        """Note what a plan moves, from where, and whether it comes to its own end."""
        self._moved, self._shutter, self._over, self._measured, self._halted = {}, None, False, False, False
        try:
            result = yield from bpp.plan_mutator(plan, self._note)
        except GeneratorExit:
            self._halted = True
            raise
        self._over = True
        if not self._measured:
            self._homes.forget(self._moved)
        return result

    @contextmanager
    def see_off(self, run_engine: RunEngine) -> Iterator[None]:
        """After a plan that ended early: no beam, nothing moves, and one sentence that says where everything stands."""
        try:
            yield
        finally:
            if not self._over and str(run_engine.state) not in ("paused", "pausing"):
                self._over = True
                try:
                    look = asyncio.run_coroutine_threadsafe(self._shut_and_look(), run_engine.loop)
                    standing = look.result(LONGEST_LOOK_S)
                except Exception as error:  # the plan's own error is the one to be seen
                    standing = f"nobody knows where everything stands ({str(error) or type(error).__name__})"
                if standing:
                    log.warning("ended early: %s%s", standing, HALTED if self._halted and self._measured else "")

    def _note(self, message: Msg) -> tuple[MsgGenerator[Any] | None, None]:
        device = message.obj
        self._measured = self._measured or message.command == "open_run"
        if message.command in _MOVING and isinstance(device, Shutter):
            self._shutter = device
        if message.command in _MOVING and isinstance(device, MotorDevice) and device.name not in self._moved:
            return self._ask_before(message, device), None
        return None, None

    def _ask_before(self, message: Msg, motor: MotorDevice) -> MsgGenerator[Any]:
        location: Any = yield Msg("locate", motor)
        self._moved[motor.name] = motor, float(location["readback"])
        return (yield message)

    async def _shut_and_look(self) -> str:
        standing: list[str] = []
        if self._shutter is not None:
            await self._shutter.shut()
            state = await self._shutter.state.get_value()
            standing.append(f"{self._shutter.name} is {state}{'' if state == CLOSED else ': CLOSE IT'}")
        standing += await asyncio.gather(*(_standing(motor, before) for motor, before in self._moved.values()))
        return "; ".join(standing)


async def left_behind(rig: Rig) -> list[str]:
    """What a session that was killed, or a scan that was halted, left as it was; one sentence for each device.

    Args:
        rig: the devices. One that does not answer is left out: others say that it is missing.
    """
    sentences = []
    for name in sorted(set(rig.homes.away) & set(rig.motors)):
        with suppress(Exception):
            at = await rig.motors[name].readback.get_value()
            if abs(at - rig.homes.away[name]) > rig.motors[name].tolerance:
                sentences.append(rig.homes.displaced(name, at))
    with suppress(Exception):
        state = await rig.shutter.state.get_value()
        if state != CLOSED:
            sentences.append(f"{rig.shutter.name} is {state}; RE(bps.mv({rig.shutter.name}, 'closed')) closes it")
    return sentences


async def _standing(motor: MotorDevice, before: float) -> str:
    try:
        await motor.stop(success=True)  # a halted plan leaves it flying
        at, moves, (units, _) = await asyncio.gather(
            motor.readback.get_value(), motor.moving.get_value(), motor.movable_logic.get_units_precision()
        )
    except Exception as error:  # one that does not answer keeps nobody from learning of the others
        return f"{motor.name} does not say where it stands ({str(error) or type(error).__name__})"
    there = f"{motor.name} {'still moves, and is' if moves else 'stands'} at {at:.6g} {units or ''}".rstrip()
    return f"{there}, as before" if abs(at - before) <= motor.tolerance else f"{there} (before: {before:.6g})"
