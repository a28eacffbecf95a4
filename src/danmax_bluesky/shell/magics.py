"""The words that users type: those of Sardana (%mv, %wa, %ct, %ascan, %mesh, %tomoscan ...), and alignment."""

import asyncio
import contextlib
import functools
import re
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from bluesky.utils import ProgressBarManager
from rich.console import Console
from rich.table import Table

from danmax_bluesky.devices.disconnects import format_missing_devices
from danmax_bluesky.errors import ScanError
from danmax_bluesky.options import by_name
from danmax_bluesky.plans.calls import bind
from danmax_bluesky.plans.motor_table import motor_row
from danmax_bluesky.plans.signature import first_line, options_of_plan, positional
from danmax_bluesky.plans.user import Plans, plan_names
from danmax_bluesky.session import Session
from danmax_bluesky.shell.words import missing, parse, words_of

T = TypeVar("T")
ANSWER_S = 30.0
_USAGE = {
    "wa": "%wa                                     where all motors stand",
    "wm": "%wm MOTOR ...                           where these motors stand, and their limits",
    "mv": "%mv MOTOR POSITION [MOTOR POSITION ...] move, and show where they are until they arrived; Ctrl-C stops them",
    "umv": "%umv MOTOR POSITION [...]               the same",
    "mvr": "%mvr MOTOR DISTANCE [...]               the same, from where they stand",
    "ct": "%ct [SECONDS]                           expose every active detector once",
    "ascanct": "%ascanct MOTOR START END NSTEPS SECONDS     as %ascan without stopping, for the rotation",
    "tomoscan": "%tomoscan SCAN_TYPE ROT_MOT START END NSTEPS SECONDS [--npt-fields N ...]   tomography",
    "newsample": "%newsample NAME                         another sample is in the beam",
    "newfolder": "%newfolder FOLDER                       files of the next scans go to raw/FOLDER",
    "newvisit": "%newvisit VISIT [PROPOSAL]              files of the next scans go to another visit",
    "reconnect": "%reconnect                              try again what is not connected",
    "danmax": "%danmax                                 this list",
}
"""Words that do more than to run the plan of their name."""
PLAN_WORDS = tuple(name for name in plan_names() if name not in _USAGE and name != "tomo_scan")  # its word is tomoscan
"""Words that run the plan of their name with what is typed after them."""


def _usage(word: str) -> str:
    """How a word that runs a plan is typed, and what the plan does."""
    plan = getattr(Plans, word)
    typed = " ".join([f"%{word}", *(name.upper() for name, _ in positional(plan))])
    does = first_line(plan).split(": `")[0].removesuffix(".")
    return f"{typed:<39} {'  ' * (len(typed) > 39)}{does[0].lower()}{does[1:]}"


WORDS = _USAGE | {word: _usage(word) for word in PLAN_WORDS}


class Magics:
    """The words of one session.

    Args:
        session: whose devices and plans they use.
        console: where tables go.
    """

    def __init__(self, session: Session, console: Console) -> None:
        self._session = session
        self._console = console

    def register(self, shell: Any) -> None:
        """Make the words known to an IPython shell, and complete the names of motors after them."""
        aliases = shell.alias_manager
        aliases.default_aliases = [alias for alias in aliases.default_aliases if alias[0] not in WORDS]
        for word in WORDS:
            shell.register_magic_function(getattr(self, word), "line", word)
            if completed := self._completed(word):
                shell.set_hook("complete_command", completed, str_key=f"%{word}")
                shell.set_hook("complete_command", completed, str_key=word)
        shell.input_transformers_cleanup.append(functools.partial(as_words, self._is_plan(shell)))

    def __getattr__(self, word: str) -> Callable[[str], None]:
        """The word that runs the plan of its name."""
        if word not in PLAN_WORDS:
            raise AttributeError(f"there is no word %{word}")
        plan = getattr(Plans, word)

        def run(line: str = "") -> None:
            self._measure(word, line, *parse(line, plan))

        run.__name__, run.__doc__ = word, plan.__doc__
        return run

    def _is_plan(self, shell: Any) -> Callable[[str], bool]:
        """Whether a name at the prompt is the plan of this session, and nothing that the user has called so."""
        return lambda word: shell.user_ns.get(word, self) == getattr(self._session.plans, word, None)

    def wa(self, line: str = "") -> None:
        """Where all motors stand."""
        self._show(list(self._session.beamline.motors))

    def wm(self, line: str) -> None:
        """Where these motors stand, and their limits."""
        self._show([self._motor(name).name for name in words_of(line)] or list(self._session.beamline.motors))

    def mv(self, line: str) -> None:
        """Move motors, and show where they are until they arrived; Ctrl-C stops them at once."""
        self._move("mv", line)

    def umv(self, line: str) -> None:
        """Move motors: the same as %mv."""
        self._move("umv", line)

    def mvr(self, line: str) -> None:
        """Move motors by a distance from where they stand; as %mv."""
        self._move("mvr", line)

    def ct(self, line: str = "1") -> None:
        """Expose every active detector once, and tell what is in the frames."""
        from danmax_bluesky.storage.frames import open_frames  # late: what reads frames takes a second to import

        values, named = parse(line, Plans.ct)
        self._measure("ct", line, values, named)
        exposure_s = self._session.last_run["call"]["exp_time"] if self._session.last_run else 0.0
        table = Table("detector", "mean", "min", "max", title=f"{exposure_s:g} s")
        for name in self._session.last_run["detectors"] if self._session.last_run else ():
            with contextlib.closing(open_frames(self._file_of(name))) as frames:
                frame = np.empty(frames.shape, frames.dtype)
                frames.read_into(len(frames) - 1, frame)
            table.add_row(name, f"{frame.mean():.6g}", f"{frame.min():g}", f"{frame.max():g}")
        self._console.print(table)

    def ascanct(self, line: str) -> None:
        """Expose while the rotation turns, without stopping; no tomography, so the configurator has no part in it."""
        values, named = parse(line, Plans.ascan)
        self._check("ascanct", line, values, named, Plans.ascan)
        call = bind(self._session.plans.ascan, tuple(values), named).arguments
        motor, *numbers = (call[name] for name in ("motor", "start", "end", "nsteps", "exp_time"))
        named = {"fields_flag": "000000", "configurator": False, "tomo_det": call.get("detectors", ())}
        named |= {"sample": call.get("sample")}
        self._measure("tomo_scan", line, ["ascanct", self._motor(motor).name, *numbers], named, word="ascanct")

    def tomoscan(self, line: str) -> None:
        """Measure a tomography, in the words of `danmax tomoscan`; what is not named comes from the configurator."""
        self._measure("tomo_scan", line, *parse(line), word="tomoscan")

    def newsample(self, line: str) -> None:
        """Another sample is in the beam."""
        self._session.newsample(*self._names(line, "newsample", "bone"))

    def newfolder(self, line: str) -> None:
        """All files of the next scans go to another folder."""
        self._session.newfolder(*self._names(line, "newfolder", "day2"))

    def newvisit(self, line: str) -> None:
        """All files of the next scans go to another visit."""
        self._session.newvisit(*self._names(line, "newvisit", "2026112108", most=2))

    def reconnect(self, line: str = "") -> None:
        """Try again what is not connected."""
        absent = self._wait(self._session.beamline.reconnect())
        self._console.print(
            f"NOT connected:\n{format_missing_devices(absent)}" if absent else "everything is connected",
            highlight=False,
            markup=False,
        )

    def danmax(self, line: str = "") -> None:
        """What there is to type."""
        self._console.print("\n".join(WORDS.values()), highlight=False, markup=False, soft_wrap=True)

    def _names(self, line: str, word: str, example: str, most: int = 1) -> list[str]:
        words = words_of(line)
        if not 1 <= len(words) <= most:
            takes = "one name" if most == 1 else f"one to {most} names"
            raise ScanError(f"%{word} {line}".rstrip() + f": it takes {takes}, as in %{word} {example}; quote blanks")
        return words

    def _move(self, word: str, line: str) -> None:
        plan = getattr(self._session.plans, word)
        words = words_of(line)
        if not words or len(words) % 2:
            what = "distances" if word == "mvr" else "positions"
            raise ScanError(f"%{word} {line}: give motors and {what} in pairs, as in %{word} tom_sam_x 1.5 tom_sam_y 0")
        for name, text in zip(words[::2], words[1::2], strict=True):
            _number(text, self._motor(name).name)
        engine = self._session.RE
        before = engine.waiting_hook
        if self._console.is_terminal or self._console.is_jupyter:
            engine.waiting_hook = ProgressBarManager()  # pyright: ignore[reportAttributeAccessIssue]
        try:
            self._run(plan(*words))
        finally:
            engine.waiting_hook = before
        self._show(words[::2])

    def _completed(self, word: str) -> Callable[[Any, Any], list[str]] | None:
        """What completes a word: names of motors, and the options of the plan that it runs; None for nothing."""
        plan = getattr(Plans, {"tomoscan": "tomo_scan", "ascanct": "ascan"}.get(word, word), None)
        if plan is None or word in ("wa", "ct"):
            return None
        options = [f"--{o.word}" for o in options_of_plan(plan) if o.name not in dict(positional(plan))]

        def complete(shell: Any, event: Any) -> list[str]:
            return [*self._session.beamline.motors, *options]

        return complete

    def _measure(self, plan: str, line: str, values: Sequence[Any], named: Mapping[str, Any], word: str = "") -> None:
        """Run a plan of the session with the words that were typed after its name."""
        bound: Any = getattr(self._session.plans, plan)
        self._check(word or plan, line, values, named, bound)
        command = {"command": f"{word or plan} {line.strip()}".strip()} if "command" in by_name(bound.options) else {}
        self._run(bound(*values, **{**command, **named}))

    def _check(
        self, word: str, line: str, values: Sequence[Any], named: Mapping[str, Any], plan: Callable[..., Any]
    ) -> None:
        if lacking := missing(plan, values, named):
            takes = ", ".join(name for name, _ in positional(plan))
            raise ScanError(f"%{word} {line}: {', '.join(lacking)} missing; it takes {takes}; see %danmax")

    def _motor(self, name: str) -> Any:
        return self._session.rig.motor(name)

    def _run(self, plan: Generator[Any, Any, Any]) -> None:
        if self._session.RE.state == "paused":
            plan.close()
            raise ScanError("a scan is paused; RE.resume() goes on with it, RE.abort() ends it")
        self._session.RE(plan)

    def _file_of(self, detector: str) -> Any:
        (file,) = [path for path in self._session.files() if path.stem.endswith(f"_{detector}")]
        return file

    def _show(self, names: Sequence[str]) -> None:
        absent = self._session.beamline.missing
        table = Table("motor", "position", "units", "low limit", "high limit", "description")
        for name in names:
            row = ("", "", "", "") if name in absent else self._wait(motor_row(self._motor(name))).cells
            about = "not connected" if name in absent else self._session.settings.motors[name].description
            table.add_row(name, *row, about)
        self._console.print(table)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._session.RE.loop).result(ANSWER_S)


def as_words(is_plan: Callable[[str], bool], lines: list[str]) -> list[str]:
    """A cell of one line that begins with a word that is also a plan, and goes on as no Python does, with its `%`.

    So `mv tom_sam_x 1.5` is understood although `mv` is also a plan, and `mv = 3` and `RE(mv(...))` stay Python.

    Args:
        is_plan: whether a name at the prompt is a plan.
        lines: of the cell.
    """
    if len(lines) == 1 and (match := re.match(r"(\w+)(\s+(?:[\w.+'\"~-]|/\S).*|\s*)$", lines[0], flags=re.DOTALL)):
        rest = match[2].split()
        if match[1] in WORDS and is_plan(match[1]) and (not rest or rest[0] not in _OPERATORS):
            return [f"%{lines[0]}"]
    return lines


_OPERATORS = ("+", "-", "and", "if", "in", "is", "not", "or")


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ScanError(f"{what}: {text!r} is no number") from None
