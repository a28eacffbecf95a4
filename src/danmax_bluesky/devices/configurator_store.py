"""The parameters of the tomography scan, kept in one file of the visit.

Every parameter has a name, a unit, limits and a default, and keeps its value until somebody changes it, also when every
program that used it has ended. Beside them stand records, which a scan writes and others read: where the latest darks
and flats are, what the scan is doing, how long it will take. This module knows nothing of Bluesky or Tango; the device
`configurator.Configurator` and the Tango server serve the same file, and may do so at the same time.
"""

import difflib
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.errors import ScanError, StorageError
from danmax_bluesky.parsing import parse, read_text, shown
from danmax_bluesky.storage.locks import held
from danmax_bluesky.tomography.scan import FIELDS

Value = bool | int | float | str

_FORMAT = "danmax configurator 1"
_EMPTY = json.dumps({"format": _FORMAT, "values": {}})
_REMEDY = "move the file away to start again from the defaults"
_LOCK_TIMEOUT_S = 5.0


class ParameterError(ScanError):
    """A scan parameter does not exist, or may not have this value."""


@dataclass(frozen=True)
class Parameter:
    """One named value of the configurator.

    Attributes:
        name: as in Python and on the command line.
        default: what it is until somebody sets it; its type is the parameter's type.
        description: one line for a person.
        units: UDUNITS spelling, "" for none.
        low: smallest value allowed, None for no limit.
        high: largest value allowed, None for no limit.
        choices: the texts allowed, empty for any.
        pattern: regular expression that a text has to match as a whole, "" for any.
        attribute: name in the control system, when it is not `name`.
        record: written by the scan for others to read, no input of the next scan.
        reported: a record that a scan alone can know, so that no client of the control system may set it.
    """

    name: str
    default: Value
    description: str
    units: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    attribute: str = ""
    record: bool = False
    reported: bool = False

    @property
    def kind(self) -> type[Value]:
        """The type of its values: bool, int, float or str."""
        return type(self.default)

    @property
    def label(self) -> str:
        """Its name in the control system."""
        return self.attribute or self.name

    def check(self, value: Any) -> Value:
        """The value in the parameter's type.

        Raises:
            ParameterError: it is of another type, out of limits, or not one of the choices.
        """
        found = self._converted(value)
        unit = f" {self.units}" if self.units else ""
        if isinstance(found, float | int) and not isinstance(found, bool):
            if not math.isfinite(found):
                raise ParameterError(f"{self.name} = {shown(value)} is no finite number")
            if self.low is not None and found < self.low:
                raise ParameterError(f"{self.name} = {found:g}{unit} is below its limit of {self.low:g}{unit}")
            if self.high is not None and found > self.high:
                raise ParameterError(f"{self.name} = {found:g}{unit} is above its limit of {self.high:g}{unit}")
        if self.choices and found not in self.choices:
            raise ParameterError(f"{self.name} = {shown(value)} is none of {', '.join(map(repr, self.choices))}")
        if self.pattern and not re.fullmatch(self.pattern, str(found)):
            raise ParameterError(f"{self.name} = {shown(value)} does not read as it must: {self.description}")
        return found

    def _converted(self, value: Any) -> Value:
        item = getattr(value, "item", None)
        plain: Any = item() if callable(item) else value
        match self.default:
            case bool():
                fits = isinstance(plain, bool)
            case int():
                fits = (isinstance(plain, int) and not isinstance(plain, bool)) or (
                    isinstance(plain, float) and plain.is_integer()
                )
            case float():
                fits = isinstance(plain, int | float) and not isinstance(plain, bool)
            case _:
                fits = isinstance(plain, str)
        if not fits:
            kind = type(value).__name__
            raise ParameterError(f"{self.name} = {shown(value)} is a {kind}, not a {self.kind.__name__}")
        return self.kind(plain)


PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "scan_type",
        "ascanct",
        "ascan and dscan stop at every angle, ascanct and dscanct do not; timescan does not follow the angle; "
        "dscan and dscanct start where rotation stands",
        choices=("ascan", "ascanct", "dscan", "dscanct", "timescan"),
    ),
    Parameter("rot_mot", "tom_ry", "rotation motor", pattern=".+"),
    Parameter("scan_start", 0.0, "first angle", "deg", -1e6, 1e6),
    Parameter("scan_end", 180.0, "last angle", "deg", -1e6, 1e6),
    Parameter("nsteps", 1800, "intervals: n of them take n + 1 projections", low=0, high=10_000_000),
    Parameter("exp_time", 0.01, "exposure of a projection", "s", 1e-6, 4000.0),
    Parameter("latency", 0.0, "dead time between exposures, beside the detector's own", "s", 0, 4000.0),
    Parameter("npt_fields", 20, "dark frames, and flat frames", low=0, high=1_000_000),
    Parameter("npt_darks", -1, "dark frames; -1 takes npt_fields", low=-1, high=1_000_000),
    Parameter("npt_flats", -1, "flat frames; -1 takes npt_fields", low=-1, high=1_000_000),
    Parameter("flat_exp_time", 0.0, "exposure of a flat; 0 takes exp_time", "s", 0, 4000.0),
    Parameter("tomo_det", "", "2D detectors by name, with spaces between; empty takes the active ones"),
    Parameter("posflat", "", "name of the flat position; empty takes that of the settings"),
    Parameter("flat_rotate", False, "rotate to flat_angle_deg before the sample moves out for flats"),
    Parameter("flat_angle_deg", 0.0, "where to rotate for flats, if flat_rotate", "deg", -1e6, 1e6),
    Parameter("condition", 0.0, "wait after the shutter opens for a flat", "s", 0, 86400.0),
    Parameter("condition_stable", False, "wait until the flat is stable instead of for a time"),
    Parameter("tori_name", "default", "name of the reconstruction settings", pattern=".+"),
    Parameter("center", "auto", "where the centre of rotation comes from", choices=("auto", "tori")),
    Parameter("fields_flag", "1" * len(FIELDS), f"{len(FIELDS)} digits 0 or 1: {', '.join(FIELDS)}", pattern="[01]{6}"),
    Parameter(
        "angles",
        "linear",
        "order in which the angles are taken",
        choices=("linear", "interlaced", "golden", "van_der_corput"),
    ),
    Parameter("turns", 1, "how often the range is passed", low=1, high=100_000),
    Parameter("back_and_forth", False, "each turn is a sweep of its own, every second one backwards"),
    Parameter("flats_every", 0, "take flats again after this many projections; 0 never", low=0, high=10_000_000),
    Parameter("velocity_deg_s", 0.0, "timescan: speed of the rotation; 0 leaves it at rest", "deg/s", -1e4, 1e4),
    Parameter("every_position", False, "ascanct, dscanct: trigger on every position, not in time"),
    Parameter("helical_motor", "", "translation that goes with the rotation; empty for none"),
    Parameter("helical_pitch_mm", 0.0, "its travel in one turn", "mm", -1e4, 1e4),
)


def _report(
    name: str, default: Value, description: str, attribute: str, units: str = "", high: float | None = None
) -> Parameter:
    low = None if isinstance(default, str) else 0
    return Parameter(name, default, description, units, low, high, attribute=attribute, record=True, reported=True)


RECORDS: tuple[Parameter, ...] = (
    Parameter("dark_file", "", "latest darks as file::dataset[a:b]", attribute="DarkFile", record=True),
    Parameter("white_file", "", "latest flats as file::dataset[a:b]", attribute="WhiteFile", record=True),
    _report("scan_state", "idle", "what the scan is doing", "ScanState"),
    _report("label", "", "kind of the frames now being taken: dark, flat, proj, ortho", "Label"),
    _report("progress", 0.0, "frames taken of those planned", "Progress", "percent", 100),
    _report("elapsed", 0.0, "time since the scan began", "Elapsed", "s"),
    _report("remaining", 0.0, "time until the scan ends", "Remaining", "s"),
    _report("frames_collected", 0, "triggers sent", "FramesCollected"),
    _report("frames_saved", 0, "frames on disk", "FramesSaved"),
    _report("last_file", "", "master file of the latest scan", "LastFile"),
)

BY_NAME: Mapping[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS + RECORDS}


@dataclass(frozen=True)
class Stored:
    """A value and since when it is so (POSIX seconds; 0.0 for a default)."""

    value: Value
    time: float = 0.0


def parameter(name: str) -> Parameter:
    """The parameter of this name.

    Raises:
        ParameterError: there is none; the nearest names are told.
    """
    if name in BY_NAME:
        return BY_NAME[name]
    close = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ParameterError(f"no scan parameter {name!r}: {hint}there are {', '.join(BY_NAME)}")


def scan_arguments(values: Mapping[str, Value], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `TomoScan`: what was given, and the configurator's values for the rest.

    Args:
        values: parameter -> value, as `scan_parameters()` tells them.
        given: arguments that win; of `fields_flag` and the six options any may be given.

    Returns:
        Arguments of `TomoScan`; parameters that are at "takes another" or "none" are left out.
    """
    kept = {name: value for name, value in values.items() if name in BY_NAME and not BY_NAME[name].record}
    flag = str(kept.pop("fields_flag"))
    options = {} if given.get("fields_flag") else {name: digit == "1" for name, digit in zip(FIELDS, flag, strict=True)}
    options |= _asked_for(options, kept, given)
    rotates, stable = kept.pop("flat_rotate"), kept.pop("condition_stable")
    motor, pitch_mm = kept.pop("helical_motor"), kept.pop("helical_pitch_mm")
    kept |= {"tomo_det": tuple(str(kept["tomo_det"]).split())}
    unset = [name for name in ("npt_darks", "npt_flats") if kept[name] == -1 or given.get("npt_fields") is not None]
    unset += [
        name for name, off in (("flat_exp_time", not kept["flat_exp_time"]), ("flat_angle_deg", not rotates)) if off
    ]
    arguments: dict[str, Any] = {name: value for name, value in kept.items() if name not in unset}
    if stable:
        arguments["condition"] = "stable"
    if motor:
        arguments["helical"] = {"motor": motor, "pitch_mm": pitch_mm}
    if isinstance(given.get("angles"), list | tuple) and "nsteps" not in given:
        arguments["nsteps"] = len(given["angles"]) - 1
    return {**arguments, **options, **given}


def _asked_for(options: Mapping[str, bool], kept: dict[str, Any], given: Mapping[str, Any]) -> dict[str, bool]:
    """What counts of darks and flats that were just named say of taking them, against what is only remembered.

    Args:
        options: get_dark and the others as remembered; empty where a flag was given.
        kept: remembered values; a count that contradicts what was just asked for is put right in it.
        given: what was just asked for.

    Returns:
        The options that follow from it.

    Raises:
        ScanError: two things that were just asked for contradict each other.
    """
    changed: dict[str, bool] = {}
    for what, pair in (("darks", ("get_dark", "get_dark_after")), ("flats", ("get_flat", "get_flat_after"))):
        count = given.get(f"npt_{what}")
        wanted = {name: bool(given.get(name, options.get(name))) for name in pair}
        if count is None:
            asked = any(given.get(name) for name in pair)
            if asked and not given.get("npt_fields") and kept.get(f"npt_{what}") == 0:
                kept[f"npt_{what}"] = int(kept["npt_fields"]) or BY_NAME["npt_fields"].default
        elif not count:
            changed |= {name: False for name in pair if name not in given and options}
            if what == "flats" and "flats_every" not in given:
                kept["flats_every"] = 0
        elif options and not any(wanted.values()):
            refused = [name for name in pair if name in given]
            if refused:
                others = " and ".join(f"{name} = False" for name in pair)
                raise ScanError(f"npt_{what} = {count} asks for {what}, but {others} take none; leave one of them out")
            changed[pair[0]] = True
    return changed


class ConfiguratorStore:
    """Scan parameters and records in a file, for any number of processes at once.

    Every read looks into the file and every write replaces it as a whole under a lock, so that a reader sees either
    the old values or the new ones. Names that this version does not know are kept.

    Args:
        path: the file, such as `<visit>/.danmax/configurator.json`; it is made when the first value is set.
    """

    def __init__(self, path: Path) -> None:
        self.move(path)

    def move(self, path: Path) -> None:
        """Read and write another file from now on; nothing is copied."""
        self.path = path

    def entries(self) -> dict[str, Stored]:
        """Every parameter and record with its value and the time it was set.

        Raises:
            StorageError: the file cannot be read.
            ParameterError: the file was edited and holds something that may not be.
        """
        found = self._load()
        entries = {}
        for known in BY_NAME.values():
            entry = found.get(known.name)
            if entry is None:
                entries[known.name] = Stored(known.default)
                continue
            try:
                entries[known.name] = Stored(known.check(entry["value"]), float(entry["time"]))
            except (ParameterError, TypeError, ValueError) as error:
                raise ParameterError(f"{self.path}: {error}; {_REMEDY}") from None
        return entries

    def read(self) -> dict[str, Value]:
        """Every parameter and record with its value."""
        return {name: entry.value for name, entry in self.entries().items()}

    def scan_parameters(self) -> dict[str, Value]:
        """The inputs of the next scan, without the records."""
        return {name: value for name, value in self.read().items() if not BY_NAME[name].record}

    def get(self, name: str) -> Value:
        """The value of one parameter.

        Raises:
            ParameterError: no such parameter.
        """
        return self.entry(name).value

    def entry(self, name: str) -> Stored:
        """The value of one parameter, and since when."""
        parameter(name)
        return self.entries()[name]

    def set(self, name: str, value: Any) -> Value:
        """Give one parameter a value; returns it as stored."""
        return self.update({name: value})[name]

    def update(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Give several parameters their values: all of them, or none if one may not be.

        Returns:
            The values as stored.

        Raises:
            ParameterError: an unknown name or a value that may not be; nothing was changed.
            StorageError: the file cannot be written.
        """
        checked = {name: parameter(name).check(value) for name, value in values.items()}
        now = time.time()
        self._change({name: {"value": value, "time": now} for name, value in checked.items()}, ())
        return checked

    def reset(self, *names: str) -> None:
        """Give these parameters their defaults again; all parameters, but no record, when none is named."""
        chosen = names or tuple(known.name for known in PARAMETERS)
        for name in chosen:
            parameter(name)
        self._change({}, chosen)

    def _load(self) -> dict[str, Any]:
        where = f"scan parameters {self.path} are damaged: the file"
        text = read_text(self.path, StorageError, missing=_EMPTY)
        content = parse(text, "JSON", where, StorageError, remedy=_REMEDY)
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise self._damaged(f"its format is not {_FORMAT!r}")
        values = content.get("values")
        if not isinstance(values, dict) or not all(
            isinstance(entry, dict) and {"value", "time"} <= entry.keys() for entry in values.values()
        ):
            raise self._damaged("a value or its time is missing")
        return values

    def _damaged(self, why: str) -> StorageError:
        return StorageError(f"scan parameters {self.path} are damaged: {why}; {_REMEDY}")

    def _change(self, new: Mapping[str, Any], gone: tuple[str, ...]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with held(self.path.with_name(f"{self.path.name}.lock"), _LOCK_TIMEOUT_S):
                kept = {name: entry for name, entry in self._load().items() if name not in gone}
                text = json.dumps({"format": _FORMAT, "values": {**kept, **new}}, indent=1)
                write_file(self.path, text, replace=True, mode=0o664)
        except OSError as error:
            raise StorageError(f"scan parameters {self.path} cannot be written: {error.strerror}") from error
