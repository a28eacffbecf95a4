"""Single verbs of which scans are made: arm, open the shutter, move the sample out, wait for the beam."""

from collections.abc import Sequence

import bluesky.plan_stubs as bps
from bluesky.protocols import Locatable
from bluesky.utils import MsgGenerator
from ophyd_async.core import DetectorTrigger, TriggerInfo

from danmax_bluesky.plans.rig import Rig

BEAM_POLL_S = 1.0
LONGEST_WAIT_FOR_A_FRAME_S = 10.0


def arm(rig: Rig, total: int, longest_exposure_s: float) -> MsgGenerator[None]:
    """Arm every detector and the PandA once, for all frames of the run; each gate is an exposure."""
    timeout = longest_exposure_s + LONGEST_WAIT_FOR_A_FRAME_S
    info = TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=total, exposure_timeout=timeout)
    yield from bps.abs_set(rig.panda.seq[1].posa, rig.position_source, wait=True)
    for detector in (*rig.detectors, rig.panda):
        yield from bps.prepare(detector, info, group="arm")
    yield from bps.wait(group="arm")


def open_shutter(rig: Rig) -> MsgGenerator[None]:
    """Let the beam through."""
    yield from bps.abs_set(rig.shutter, "open", wait=True)


def close_shutter(rig: Rig) -> MsgGenerator[None]:
    """Keep the beam out."""
    yield from bps.abs_set(rig.shutter, "closed", wait=True)


def where(rig: Rig, motors: Sequence[str]) -> MsgGenerator[tuple[tuple[str, float], ...]]:
    """Where these motors were sent, in their order: what `put_back` takes."""
    places = []
    for name in motors:
        places.append((name, (yield from sent_to(rig.motor(name)))))
    return tuple(places)


def sent_to(motor: Locatable[float]) -> MsgGenerator[float]:
    """Where a motor was sent last, in its units."""
    location = yield from bps.locate(motor)  # pyright: ignore[reportReturnType]  bluesky's overloads yield text
    return float(location["setpoint"])


def move_in_order(rig: Rig, moves: Sequence[tuple[str, float]]) -> MsgGenerator[None]:
    """Move one motor after the other."""
    for name, position in moves:
        yield from bps.mv(rig.motor(name), position)


def put_back(rig: Rig, places: Sequence[tuple[str, float]]) -> MsgGenerator[None]:
    """Undo `move_in_order`: the motor that moved last goes back first."""
    yield from move_in_order(rig, tuple(reversed(places)))


def wait_for_beam(rig: Rig) -> MsgGenerator[None]:
    """Wait, before a phase begins, until there is beam; the arming is kept meanwhile."""
    while (yield from bps.rd(rig.ring_current)) < rig.min_ring_current_ma:
        yield from bps.sleep(BEAM_POLL_S)
