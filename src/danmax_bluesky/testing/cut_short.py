"""Plans that are cut short: asked to end, or killed with their whole session, at any of their messages."""

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import Session, make_session
from danmax_bluesky.testing.waiting import children_of
from danmax_bluesky.tomography.scan import ScanType
from danmax_bluesky.tomography.translations import Line

MIDDLE_NS = 40_000_000
"""From a message that begins a move to the middle of the move: the motors of `SLOW` take about twice that."""
SLOW = {
    f"motors.{motor}.{key}": value
    for motor in ("tom_sam_x", "tom_sam_y")
    for key, value in {"velocity": 250, "max_velocity": 250, "acceleration_time": 0.01}.items()
}
END_S = 120.0


def tomo(session: Session, scan_type: ScanType = "ascanct", **parameters: Any) -> Any:
    """A short tomography, of a turn by 20 degrees, with darks, flats before and after, and frames on the way back."""
    given = {"npt_fields": 2, "fields_flag": "110111", "configurator": False, **parameters}
    return session.plans.tomo_scan(scan_type, "tom_ry", 0, 20, 4, 0.02, **given)


PLANS: dict[str, Callable[[Session], Any]] = {
    "tomography": tomo,
    "steps": lambda session: tomo(session, "ascan", fields_flag="010001"),
    "helix": lambda session: tomo(session, fields_flag="010001", helical={"motor": "tom_sam_y", "pitch_mm": 40.0}),
    "mosaic": lambda session: tomo(
        session,
        fields_flag="010001",
        places=Line(motor="tom_sam_y", step=1.0, num=2) * Line(motor="tom_sam_x", step=5.0, num=2),
    ),
    "sweep": lambda session: session.plans.azint_scan("tom_ry", 0, 20, 4, 0.02, relative=True, continuous=True),
    "flight": lambda session: session.plans.azint_scan("tom_sam_x", 0, 4, 4, 0.01, relative=True, continuous=True),
    "mesh": lambda session: session.plans.mesh("tom_sam_x", 5, 10, 1, "tom_sam_y", 5, 6, 1, 0.002),
    "meshct": lambda session: session.plans.meshct("tom_sam_x", 5, 10, 2, "tom_sam_y", 5, 6, 1, 0.02),
}


def messages(session: Session, kind: str) -> list[str]:
    """What a plan does from its beginning to its end, in words."""
    commands: list[str] = []
    engine: Any = session.RE
    engine.msg_hook = lambda message: commands.append(in_words(message))
    session.RE(PLANS[kind](session))
    engine.msg_hook = None
    return commands


def in_words(message: Any) -> str:
    """A message of a plan, such as "set tom_sam_x"."""
    return f"{message.command} {getattr(message.obj, 'name', '')}".strip()


@dataclass(frozen=True)
class Moment:
    """A message of a plan.

    How often frames are collected while a phase goes on depends on the machine. So the number of a message differs from
    one run to the next; that it is the second one that sets a motor does not.

    Attributes:
        words: the message to begin with, such as "set tom_sam_x"; "" is any.
        nth: how many of these words come before.
        after: messages from there on.
    """

    words: str = ""
    nth: int = 0
    after: int = 0


class Watch:
    """Waits for a moment of a plan, whose messages are told to it one after the other.

    Args:
        moment: the moment.
    """

    def __init__(self, moment: Moment) -> None:
        self._moment = moment
        self._alike = 0
        self._since: int | None = None

    def __call__(self, words: str) -> int | None:
        """How many messages this one comes after the moment: 0 at the moment itself, None or negative before it."""
        if self._since is not None:
            self._since += 1
        elif self._moment.words in ("", words):
            self._alike += 1
            if self._alike > self._moment.nth:
                self._since = -self._moment.after
        return self._since


def at_first(commands: list[str], *wanted: str, after: int = 0) -> Moment:
    """The moment so many messages after that with which such a row of messages begins first."""
    first = next(at for at in range(len(commands)) if commands[at : at + len(wanted)] == list(wanted))
    return Moment(wanted[0], commands[:first].count(wanted[0]), after)


@dataclass(frozen=True)
class Killed:
    """What was true when a session was killed, and stays true without it.

    Attributes:
        positions: motor -> where it comes to rest: its controller goes on with what it was told, and knows of nobody.
        shutter: where the fast shutter stays.
        cameras: the processes of the cameras, which end by themselves.
        message: at which it was killed, in words.
    """

    positions: Mapping[str, float]
    shutter: str
    cameras: tuple[int, ...]
    message: str


def kill(kind: str, options: Mapping[str, Any], notes: Path, at: Moment, later_ns: int = 0) -> Killed | None:
    """Run a plan in a process of its own, and kill that process (SIGKILL) at one of the plan's messages.

    Args:
        kind: of `PLANS`.
        options: dotted settings of its session.
        notes: a file, for what is true at the kill.
        at: the message.
        later_ns: how long after that message began, in the twin's time.

    Returns:
        What was true; None if the plan came to its end before.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_run, args=(kind, dict(options), notes, at, later_ns))
    process.start()
    process.join(END_S)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    process.close()
    if code == 0:
        return None
    assert code == -signal.SIGKILL, f"the session ended with status {code}"
    last = json.loads(notes.read_text(encoding="utf-8"))
    return Killed(last["positions"], last["shutter"], tuple(last["cameras"]), last["message"])


def _run(kind: str, options: dict[str, Any], notes: Path, at: Moment, later_ns: int) -> None:
    with make_session(load_settings(options=options)) as session:
        twin = session.beamline.twin
        assert twin is not None
        world, tasks, watch = twin.world, [], Watch(at)

        def end(message: str) -> None:
            state = {
                "positions": {name: axis.track.latest[1].target for name, axis in world.axes.items()},
                "shutter": "open" if world.shutter.state.latest else "closed",
                "cameras": children_of(os.getpid()),
                "message": message,
            }
            notes.write_text(json.dumps(state), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

        async def end_later(message: str) -> None:
            await world.clock.sleep_until(world.clock.now_ns() + later_ns)
            end(message)

        def count_down(message: Any) -> None:
            if watch(in_words(message)) == 0:
                if later_ns:
                    tasks.append(asyncio.ensure_future(end_later(in_words(message))))
                else:
                    end(in_words(message))

        engine: Any = session.RE
        engine.msg_hook = count_down
        session.RE(PLANS[kind](session))
