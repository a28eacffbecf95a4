"""The words that users of Sardana type: %mv, %mvr, %wa, %ct, %ascan, %ascanct, %tomoscan."""

import asyncio
import contextlib
import shlex
from collections.abc import Coroutine, Generator, Sequence
from typing import Any, TypeVar

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import MsgGenerator, ProgressBarManager
from rich.console import Console
from rich.table import Table

from danmax_bluesky.devices.disconnects import format_missing_devices
from danmax_bluesky.devices.motor import motor_state
from danmax_bluesky.errors import DanmaxError, ScanError
from danmax_bluesky.plans import classic
from danmax_bluesky.plans.stubs import read_position
from danmax_bluesky.session import Session
from danmax_bluesky.tomography.scan import TomoScan

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
    "ascanct": "%ascanct MOTOR START END NSTEPS SECONDS   the same without stopping, for the rotation",
    "tomoscan": "%tomoscan SCAN_TYPE ROT_MOT START END NSTEPS SECONDS [--npt-fields N ...]   tomography",
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
            if word in ("wm", "mv", "umv", "mvr", "ascan", "ascanct", "tomoscan"):
                shell.set_hook("complete_command", self._complete, str_key=f"%{word}")
                shell.set_hook("complete_command", self._complete, str_key=word)

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

        exposure_s = _number(line or "1", "exposure")
        self._run(classic.ct(self._session.rig, exposure_s, md=self._md(f"ct {exposure_s:g}")))
        table = Table("detector", "mean", "min", "max", title=f"{exposure_s:g} s")
        for detector in self._session.rig.detectors:
            with contextlib.closing(open_frames(self._file_of(detector.name))) as frames:
                frame = np.empty(frames.shape, frames.dtype)
                frames.read_into(len(frames) - 1, frame)
            table.add_row(detector.name, f"{frame.mean():.6g}", f"{frame.min():g}", f"{frame.max():g}")
        self._console.print(table)

    def ascan(self, line: str) -> None:
        """Stop at equally spaced positions of a motor, and expose every active detector at each."""
        motor, start, end, nsteps, exposure_s = self._scan(line, "ascan")
        self._run(
            classic.ascan(
                self._session.rig, motor, start, end, nsteps, exposure_s, md=self._md(f"ascan {line.strip()}")
            )
        )

    def ascanct(self, line: str) -> None:
        """Expose while the rotation turns, without stopping; no tomography, so the configurator has no part in it."""
        motor, start, end, nsteps, exposure_s = self._scan(line, "ascanct")
        self._run(
            self._session.plans.tomo_scan(
                "ascanct",
                motor,
                start,
                end,
                nsteps,
                exposure_s,
                fields_flag="000000",
                configurator=False,
                command=f"ascanct {line.strip()}",
            )
        )

    def tomoscan(self, line: str) -> None:
        """Measure a tomography, in the words of `danmax tomoscan`; what is not named comes from the configurator."""
        positional, named = parse(line)
        names = ("scan_type", "rot_mot", "scan_start", "scan_end", "nsteps", "exp_time")
        if len(positional) > len(names):
            raise ScanError(f"%tomoscan {line}: {positional[len(names)]!r} is too much; it takes {', '.join(names)}")
        arguments = {**dict(zip(names, positional, strict=False)), **named}
        self._run(self._session.plans.tomo_scan(**arguments, command=f"tomoscan {line.strip()}"))

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
        missing = self._wait(self._session.beamline.reconnect())
        self._console.print(
            f"NOT connected:\n{format_missing_devices(missing)}" if missing else "everything is connected",
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
        words = words_of(line)
        if not words or len(words) % 2:
            what = "distances" if word == "mvr" else "positions"
            raise ScanError(f"%{word} {line}: give motors and {what} in pairs, as in %{word} tom_sam_x 1.5 tom_sam_y 0")
        pairs = [(self._motor(name), _number(text, name)) for name, text in zip(words[::2], words[1::2], strict=True)]

        def travel() -> MsgGenerator[None]:
            targets: list[Any] = []
            for motor, value in pairs:
                targets += [motor, value + (yield from read_position(motor)) if word == "mvr" else value]
            yield from bps.mv(*targets)

        engine = self._session.RE
        before = engine.waiting_hook
        if self._console.is_terminal or self._console.is_jupyter:
            engine.waiting_hook = ProgressBarManager()  # pyright: ignore[reportAttributeAccessIssue]
        try:
            self._run(travel())
        finally:
            engine.waiting_hook = before
        self._show([motor.name for motor, _ in pairs])

    def _complete(self, shell: Any, event: Any) -> list[str]:
        return list(self._session.beamline.motors)

    def _scan(self, line: str, word: str) -> tuple[str, float, float, int, float]:
        words = words_of(line)
        if len(words) != 5:
            raise ScanError(f"%{word} {line}: it takes a motor, start, end, intervals and seconds; see %danmax")
        start, end, exposure_s = (
            _number(words[index], name) for index, name in ((1, "start"), (2, "end"), (4, "time"))
        )
        steps = _number(words[3], "nsteps")
        if not steps.is_integer():
            raise ScanError(f"%{word} {line}: nsteps = {words[3]} is no whole number")
        return self._motor(words[0]).name, start, end, int(steps), exposure_s

    def _motor(self, name: str) -> Any:
        return self._session.rig.motor(name)

    def _md(self, command: str) -> dict[str, Any]:
        return {"command": command}

    def _run(self, plan: Generator[Any, Any, Any]) -> None:
        if self._session.RE.state == "paused":
            plan.close()
            raise ScanError("a scan is paused; RE.resume() goes on with it, RE.abort() ends it")
        self._session.RE(plan)

    def _file_of(self, detector: str) -> Any:
        (file,) = [path for path in self._session.files() if path.stem.endswith(f"_{detector}")]
        return file

    def _show(self, names: Sequence[str]) -> None:
        missing = self._session.beamline.missing
        table = Table("motor", "position", "units", "low limit", "high limit", "description")
        for name in names:
            row = ["", "", "", ""] if name in missing else self._wait(self._place(name))
            about = "not connected" if name in missing else self._session.settings.motors[name].description
            table.add_row(name, *row, about)
        self._console.print(table)

    async def _place(self, name: str) -> list[str]:
        motor = self._session.beamline.motors[name]
        try:
            now = await motor_state(motor)
        except DanmaxError as error:
            return [str(error), "", "", ""]
        return [f"{now.position:.6g}", now.units, f"{now.low_limit:g}", f"{now.high_limit:g}"]

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._session.RE.loop).result(ANSWER_S)


def words_of(line: str) -> list[str]:
    """The words of a line, as a shell would take them.

    Raises:
        ScanError: a quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ScanError(f"{line}: {str(error).lower()}; close the quote, or leave it out") from None


def parse(line: str) -> tuple[list[Any], dict[str, Any]]:
    """Words of a command line as positional and named arguments of a plan: `--npt-fields 20`, `npt_fields=20`.

    An option that is true or false may stand alone, `--get-ortho`, and is true then.

    Raises:
        ScanError: an option without a value, or a quote that is not closed.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    words = words_of(line)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            key, equals, text = word[2:].partition("=")
            if key == "dry-run":
                named["dry_run"] = True
                continue
            if not equals:
                if words and not words[0].startswith("--") and (_is_truth(words[0]) or not _is_flag(key)):
                    text = words.pop(0)
                elif _is_flag(key):
                    text = "true"
                else:
                    raise ScanError(f"--{key} needs a value, as in --{key} {'bone' if _name_of(key) in _TEXTS else 20}")
            _name(named, key, text)
        elif "=" in word:
            key, _, text = word.partition("=")
            _name(named, key, text)
        else:
            positional.append(_plain(word))
    return positional, named


_LONG = {"tori": "tori_name", "det": "tomo_det"}
_TEXTS = {"fields_flag", "sample", "posflat", "tori_name", "center", "angles"}


def _name(named: dict[str, Any], key: str, text: str) -> None:
    name = _name_of(key)
    value = text if name in _TEXTS else _plain(text)
    if name == "tomo_det":
        value = (*named.get(name, ()), text)
    elif _is_flag(key) and value in (0, 1):
        value = bool(value)
    named[name] = value


def _name_of(key: str) -> str:
    name = key.replace("-", "_")
    return _LONG.get(name, name)


def _is_flag(key: str) -> bool:
    """Whether the plan's parameter of this name is true or false."""
    field = TomoScan.model_fields.get(_name_of(key))
    return field is not None and field.annotation is bool


def _is_truth(text: str) -> bool:
    return text.lower() in ("true", "false", "0", "1")


def _plain(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ScanError(f"{what}: {text!r} is no number") from None
