"""Named positions of a visit: where motors stand when the sample is out of the beam, or anywhere else worth a name.

One TOML file a position in the visit's `.positions/` folder, so that they outlive every session and can be read, copied
and edited by hand. The motors move in the order of the file.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import tomli_w

from danmax_bluesky.atomic_files import NameTakenError, write_file
from danmax_bluesky.config import Settings
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.parsing import expecting, parse, read_text

OF_THE_SETTINGS = "settings"
OUT = "out"
"""What everybody calls it: the position of the settings, unless one is saved under this name."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class PositionError(DanmaxError):
    """A named position does not exist, exists already, or cannot be used."""


@dataclass(frozen=True)
class FlatPosition:
    """Where motors have to stand, as a plan needs it.

    Attributes:
        name: as it was saved.
        moves: (motor, position in the motor's units), in the order in which they move.
        rotate_first_deg: angle to rotate to before anything else moves, or None to leave rotation where it is.
        comment: one line for a person.
        units: motor -> its units when the position was saved, as far as known.
        saved: when it was saved, ISO 8601, "" if unknown.
    """

    name: str
    moves: tuple[tuple[str, float], ...]
    rotate_first_deg: float | None = None
    comment: str = ""
    units: tuple[tuple[str, str], ...] = ()
    saved: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PositionError(
                f"position {self.name!r} cannot be a file name; use letters, digits, '_', '-' and '.', as in out_left"
            )
        if not self.moves:
            raise PositionError(f"position {self.name!r} names no motor; name those that move")
        motors = [motor for motor, _ in self.moves]
        twice = sorted({motor for motor in motors if motors.count(motor) > 1})
        if twice:
            raise PositionError(f"position {self.name!r} names {', '.join(twice)} twice; name a motor once")
        for motor, value in self.moves:
            if not math.isfinite(value):
                raise PositionError(f"position {self.name!r}: {motor} = {value} is no finite number")
        if self.rotate_first_deg is not None and not math.isfinite(self.rotate_first_deg):
            raise PositionError(
                f"position {self.name!r}: rotate_first_deg = {self.rotate_first_deg} is no finite number"
            )

    @property
    def motors(self) -> tuple[str, ...]:
        """The motors in the order in which they move."""
        return tuple(motor for motor, _ in self.moves)


@dataclass(frozen=True)
class Range:
    """Where a motor may stand: its limits in its units."""

    low: float
    high: float
    units: str = ""


class ReadableMotor(Protocol):
    """What is needed of a motor: to say where it stands."""

    @property
    def name(self) -> str:
        """Name of the motor."""
        ...

    async def locate(self) -> Any:
        """Where it was sent and where it stands."""
        ...


class FlatPositions:
    """The library of positions in one folder.

    Args:
        folder: such as `<visit>/.positions`; it is made when the first position is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> tuple[str, ...]:
        """The names of all positions, sorted."""
        return tuple(sorted(path.stem for path in self.folder.glob("*.toml") if _NAME.fullmatch(path.stem)))

    def path(self, name: str) -> Path:
        """The file of a position."""
        return self.folder / f"{name}.toml"

    def load(self, name: str) -> FlatPosition:
        """A position by its name.

        Raises:
            PositionError: there is none of this name, or its file is damaged.
        """
        path = self.path(name)
        if not _NAME.fullmatch(name) or not path.is_file():
            raise self._unknown(name)
        where = f"position {name!r}: {path}"
        remedy = "save the position again, or edit the file"
        content = parse(read_text(path, PositionError), "TOML", f"{where} is damaged: it", PositionError, remedy=remedy)
        with expecting(where, PositionError, remedy):
            return _from_toml(name, content)

    def save(self, position: FlatPosition, replace: bool = False) -> Path:
        """Write a position to its file.

        Raises:
            PositionError: the name is taken and `replace` was not asked for, or the folder cannot be written to.
        """
        path = self.path(position.name)
        if position.name == OF_THE_SETTINGS:
            raise PositionError(f"the name {OF_THE_SETTINGS!r} belongs to the position of the settings; take another")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(path, _to_toml(position), replace=replace, mode=0o664)
        except NameTakenError:
            raise PositionError(
                f"position {position.name!r} exists already ({path}); take another name, or ask to replace it"
            ) from None
        except OSError as error:
            raise PositionError(
                f"position {position.name!r}: {self.folder} cannot be written: {error.strerror}"
            ) from error
        return path

    def delete(self, name: str, sure: bool = False) -> None:
        """Remove a position, when it is asked for in so many words.

        Raises:
            PositionError: `sure` is not set, or there is no such position.
        """
        if name not in self.names():
            raise self._unknown(name)
        if not sure:
            raise PositionError(f"position {name!r} was kept; deleting it has to be asked for (sure=True, --yes)")
        self.path(name).unlink()

    def _unknown(self, name: str) -> PositionError:
        names = self.names()
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        there = f"there are {', '.join(names)}" if names else "there is none yet; `danmax positions save` makes one"
        return PositionError(f"no position {name!r} in {self.folder}: {hint}{there}")


def position_of(settings: Settings, library: FlatPositions, name: str = "") -> FlatPosition:
    """The position that a scan was asked to use; without a name, or as "out", the one of the settings.

    Raises:
        PositionError: there is none of this name.
    """
    if name and name != OF_THE_SETTINGS:
        if name != OUT or not settings.flat_position or OUT in library.names():
            return library.load(name)
    if not settings.flat_position:
        raise PositionError(
            "no position with the sample out of the beam is known; name one that was saved with `danmax positions "
            "save`, or set flat_position in the settings"
        )
    units = tuple((motor, settings.motors[motor].units) for motor in settings.flat_position)
    return FlatPosition(OF_THE_SETTINGS, tuple(settings.flat_position.items()), units=units)


def ranges_of(settings: Settings) -> dict[str, Range]:
    """The limits of all motors as the settings know them, without asking a motor."""
    return {name: Range(motor.low_limit, motor.high_limit, motor.units) for name, motor in settings.motors.items()}


def findings(position: FlatPosition, ranges: Mapping[str, Range], rotation: str | None = None) -> tuple[str, ...]:
    """Why this position cannot be used: one sentence each, with its way out; none if it can.

    Args:
        position: the position in question.
        ranges: limits of every motor there is.
        rotation: name of the rotation motor; needed for a position that rotates first.
    """
    targets = list(position.moves)
    if position.rotate_first_deg is not None and rotation is not None:
        targets.insert(0, (rotation, position.rotate_first_deg))
    problems = []
    units = dict(position.units)
    for motor, value in targets:
        where = f"position {position.name!r}: {motor}"
        limits = ranges.get(motor)
        if limits is None:
            problems.append(f"{where} is none of the motors {', '.join(sorted(ranges))}; save the position again")
        elif not limits.low <= value <= limits.high:
            problems.append(
                f"{where} = {value:g} {limits.units} is outside its limits of {limits.low:g} to {limits.high:g} "
                f"{limits.units}; save another position, or move the limits"
            )
        elif units.get(motor, limits.units) != limits.units:
            problems.append(
                f"{where} was saved in {units[motor]} and is now in {limits.units}; save the position again"
            )
    return tuple(problems)


def _from_toml(name: str, content: Mapping[str, Any]) -> FlatPosition:
    moves: Iterable[Mapping[str, Any]] = content["move"]
    angle = content.get("rotate_first_deg")
    return FlatPosition(
        name,
        tuple((str(move["motor"]), float(move["position"])) for move in moves),
        None if angle is None else float(angle),
        str(content.get("comment", "")),
        tuple((str(move["motor"]), str(move["units"])) for move in moves if "units" in move),
        str(content.get("saved", "")),
    )


def _to_toml(position: FlatPosition) -> str:
    units = dict(position.units)
    angle = position.rotate_first_deg
    return tomli_w.dumps(
        {
            "comment": position.comment,
            "saved": position.saved,
            **({} if angle is None else {"rotate_first_deg": float(angle)}),
            "move": [
                {"motor": motor, "position": float(value), **({"units": units[motor]} if motor in units else {})}
                for motor, value in position.moves
            ],
        }
    )
