"""What every run of a session says of itself, whoever wrote its plan: our scans, Bluesky's own plans, a user's."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator
from ophyd_async.core import TriggerInfo

from danmax_bluesky.devices.protocols import FrameDetector
from danmax_bluesky.devices.shutter import OPEN
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.runs.record import MONITOR

BASELINE = "baseline"
log = logging.getLogger(__name__)


def describing_runs(
    rig: Rig, recipes: Sequence[Mapping[str, Any]] = ()
) -> Callable[[MsgGenerator[Any]], MsgGenerator[Any]]:
    """A preprocessor for a RunEngine.

    Each run gets the metadata of the rig and a reading of the snapshot at its start and at its end. The values around
    the sample are noted while it is open, each in a stream of its own, `<name>_monitor`. A run that is not one of our
    own scans is integrated by all recipes, and a camera that exposes by itself while the fast shutter is closed is
    warned of, once a run: Bluesky's own plans do not know the shutter.

    A camera that `bp.fly` begins without a stream of its own takes `num_frames` exposures of `exposure_time`, as they
    are set, in a stream that has its name.

    Args:
        rig: the devices.
        recipes: of the azimuthal integration, as they stand in a start document.
    """

    def describe(plan: MsgGenerator[Any]) -> MsgGenerator[Any]:
        state = _Run()
        return bpp.plan_mutator(bpp.msg_mutator(plan, changed), lambda message: with_more(state, message))

    def changed(message: Msg) -> Msg:
        if message.command == "open_run":
            more = {} if "segments" in message.kwargs or not recipes else {"recipes": list(recipes)}
            return message._replace(kwargs={**rig.metadata, **more, **message.kwargs})
        if message.command == "collect" and _is_camera(rig, message.obj) and not message.args:
            return message._replace(kwargs={"name": message.obj.name, **message.kwargs})
        return message

    def with_more(run: _Run, message: Msg) -> tuple[MsgGenerator[Any] | None, MsgGenerator[Any] | None]:
        before: MsgGenerator[Any] | None = None
        if message.command == "open_run":
            run.begin(ours="segments" in message.kwargs)
            return None, _begin(rig)
        if message.command in ("create", "save", "drop"):
            run.in_event = message.command == "create"
        if message.command == "close_run":
            before = _end(rig, run)
        elif message.command == "declare_stream":
            run.declared |= {id(device) for device in message.args}
        elif _is_camera(rig, message.obj) and not run.ours:
            if message.command == "kickoff" and id(message.obj) not in run.declared:
                run.flown.append(message.obj)
                before = _prepare_to_fly(rig, message.obj)
            elif message.command == "trigger" and not run.looked:
                before = warn_of_a_closed_shutter(rig, message.obj)
            run.looked = run.looked or before is not None
        return (None if before is None else followed_by(before, message)), None

    return describe


class _Run:
    """What is known of the run that is open."""

    def __init__(self) -> None:
        self.begin(ours=True)

    def begin(self, *, ours: bool) -> None:
        self.ours = ours
        self.looked = False
        self.in_event = False
        self.declared: set[int] = set()
        self.flown: list[FrameDetector] = []


def _is_camera(rig: Rig, device: Any) -> bool:
    return any(device is camera for camera in rig.cameras.values())


def _begin(rig: Rig) -> MsgGenerator[None]:
    yield from read_snapshot(rig)
    for channel in rig.environment.values():
        yield from bps.monitor(channel, name=f"{channel.name}{MONITOR}")


def _end(rig: Rig, run: _Run) -> MsgGenerator[None]:
    if run.in_event:  # an error came right after it was begun, and would be hidden by a complaint about the next one
        yield from bps.drop()
    if rig.environment:  # the last frames lie before a value that is known, not behind the last one
        yield from bps.wait_for([channel.ask for channel in rig.environment.values()])
    for channel in rig.environment.values():
        yield from bps.unmonitor(channel)
    yield from read_snapshot(rig)
    for camera in run.flown:
        yield from bps.unstage(camera, wait=True)


def _prepare_to_fly(rig: Rig, camera: FrameDetector) -> MsgGenerator[None]:
    yield from warn_of_a_closed_shutter(rig, camera)
    num = int((yield from bps.rd(camera.num_frames)))
    exposure_s = float((yield from bps.rd(camera.exposure_time)))
    yield from bps.stage(camera, wait=True)
    yield from bps.prepare(camera, TriggerInfo(livetime=exposure_s, number_of_events=num), wait=True)
    yield from bps.abs_set(camera.events_to_kickoff, num, wait=True)
    yield from bps.declare_stream(camera, name=camera.name, collect=True)


def read_snapshot(rig: Rig) -> MsgGenerator[None]:
    """Read the devices of the snapshot into the stream `baseline`."""
    if devices := rig.snapshot():
        yield from bps.trigger_and_read(devices, name=BASELINE)


def followed_by(plan: MsgGenerator[Any], message: Msg) -> MsgGenerator[Any]:
    """A plan, and then a message, whose response it returns."""
    yield from plan
    return (yield message)


def warn_of_a_closed_shutter(rig: Rig, camera: FrameDetector) -> MsgGenerator[None]:
    """Say that what a camera is going to expose will see no beam."""
    if (yield from bps.rd(rig.shutter.state)) != OPEN:
        log.warning(
            "%s exposes while the fast shutter is closed, so its frames see no beam. Open it with "
            '`RE(bps.mv(%s, "open"))`, and close it afterwards; azint_count, azint_scan and tomo_scan do both',
            camera.name,
            rig.shutter.name,
        )
