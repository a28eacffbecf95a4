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
from danmax_bluesky.plans.calls import bind
from danmax_bluesky.plans.motor_table import motor_row
from danmax_bluesky.plans.signature import options_of_plan, positional
from danmax_bluesky.plans.user import Plans
from danmax_bluesky.session import Session
from danmax_bluesky.shell.words import missing, parse, words_of

T = TypeVar("T")
ANSWER_S = 30.0
WORDS = {
    "wa": "%wa                                     where all motors stand",
    "wm": "%wm MOTOR ...                           where these motors stand, and their limits",
    "mv": "%mv MOTOR POSITION [MOTOR POSITION ...] move, and show where they are until they arrived; Ctrl-C stops them",
    "umv": "%umv MOTOR POSITION [...]               the same",
    "mvr": "%mvr MOTOR DISTANCE [...]               the same, from where they stand",
    "ct": "%ct [SECONDS]                           expose every active detector once",
    "ascan": "%ascan MOTOR START END NSTEPS SECONDS     stop at NSTEPS + 1 positions",
    "dscan": "%dscan MOTOR START END NSTEPS SECONDS     the same around where the motor stands, and back",
    "mesh": "%mesh FAST START END NSTEPS SLOW START END NSTEPS SECONDS   a map of diffraction",
    "meshct": "%meshct FAST START END NSTEPS SLOW START END NSTEPS SECONDS   the same without stopping in a row",
    "spiral": "%spiral FIRST CENTRE RANGE SECOND CENTRE RANGE STEP SECONDS   a map of points around a centre",
    "listscan": "%listscan FILE SECONDS                 stop at the positions of a text file",
    "maplist": "%maplist FILE SECONDS                  a map for each line of a text file",
    "azint_program": '%azint_program CHANNEL "TARGET at RATE for SECONDS" SECONDS   frames while a furnace heats',
    "ascanct": "%ascanct MOTOR START END NSTEPS SECONDS   the same without stopping, for the rotation",
    "tomoscan": "%tomoscan SCAN_TYPE ROT_MOT START END NSTEPS SECONDS [--npt-fields N ...]   tomography",
    "align_sample": "%align_sample MOTOR START END NSTEPS SECONDS [--signal pilatus]   the middle of a peak or dip",
    "align_axis": "%align_axis SECONDS [--motor tom_sam_x]  where the rotation axis is, and its tilt",
    "align_focus": "%align_focus MOTOR START END NSTEPS SECONDS   the focus across the field of a camera",
    "align_detector": "%align_detector SECONDS [--calibrant CeO2]   distance and beam of a diffraction detector",
    "align_energy": "%align_energy MOTOR START END NSTEPS SECONDS   the energy, from several distances of the detector",
    "align_apply": "%align_apply                            move to what the last alignment proposed",
    "newsample": "%newsample NAME                         another sample is in the beam",
    "newfolder": "%newfolder FOLDER                       files of the next scans go to raw/FOLDER",
    "newvisit": "%newvisit VISIT [PROPOSAL]              files of the next scans go to another visit",
    "reconnect": "%reconnect                              try again what is not connected",
    "danmax": "%danmax                                 this list",
}


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

    def ascan(self, line: str) -> None:
        """Stop at equally spaced positions of a motor, and expose every active detector at each."""
        self._measure("ascan", line, *parse(line, Plans.ascan))

    def dscan(self, line: str) -> None:
        """Stop at equally spaced positions around where a motor stands, expose at each, and bring it back."""
        self._measure("dscan", line, *parse(line, Plans.dscan))

    def mesh(self, line: str) -> None:
        """Map diffraction over two motors, and bring them back."""
        self._measure("mesh", line, *parse(line, Plans.mesh))

    def meshct(self, line: str) -> None:
        """Map diffraction over two motors, the first of which flies along each row, and bring them back."""
        self._measure("meshct", line, *parse(line, Plans.meshct))

    def spiral(self, line: str) -> None:
        """Map diffraction at the points of a spiral, from its centre outwards, and bring the motors back."""
        self._measure("spiral", line, *parse(line, Plans.spiral))

    def listscan(self, line: str) -> None:
        """Stop at the positions of a text file, and bring the motors back."""
        self._measure("listscan", line, *parse(line, Plans.listscan))

    def maplist(self, line: str) -> None:
        """Measure a map for each line of a text file."""
        self._measure("maplist", line, *parse(line, Plans.maplist))

    def azint_program(self, line: str) -> None:
        """Expose the diffraction detector while a value around the sample follows a program of ramps and holds."""
        self._measure("azint_program", line, *parse(line, Plans.azint_program))

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

    def align_sample(self, line: str) -> None:
        """Find the middle of a peak, a dip or a pair of edges, and propose to go there."""
        self._measure("align_sample", line, *parse(line, Plans.align_sample))

    def align_axis(self, line: str) -> None:
        """Find the rotation axis and its tilt from a few orientations of the sample."""
        self._measure("align_axis", line, *parse(line, Plans.align_axis))

    def align_focus(self, line: str) -> None:
        """Find the focus across the field of a camera."""
        self._measure("align_focus", line, *parse(line, Plans.align_focus))

    def align_detector(self, line: str) -> None:
        """Expose a calibrant, and find distance, beam and tilt of a diffraction detector."""
        self._measure("align_detector", line, *parse(line, Plans.align_detector))

    def align_energy(self, line: str) -> None:
        """Find the energy from a calibrant at several distances of the detector."""
        self._measure("align_energy", line, *parse(line, Plans.align_energy))

    def align_apply(self, line: str = "") -> None:
        """Do what the last alignment proposed."""
        self._run(self._session.plans.align_apply())

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
        self._run(bound(*values, **{"command": f"{word or plan} {line.strip()}".strip(), **named}))

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
    if len(lines) == 1 and (match := re.match(r"(\w+)(\s+[\w.+'\"-].*|\s*)$", lines[0], flags=re.DOTALL)):
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
