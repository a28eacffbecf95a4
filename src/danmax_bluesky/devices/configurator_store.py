"""The parameters of the tomography scan, kept in one file of the visit.

Every parameter has a name, a unit, limits and a default, and keeps its value until somebody changes it, also when every
program that used it has ended. Beside them stand records, which a scan writes and others read: where the latest darks
and flats are, what the scan is doing, how long it will take. This module knows nothing of Bluesky or Tango; the device
`configurator.Configurator` and the Tango server serve the same file, and may do so at the same time.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import nearest, parse, read_text
from danmax_bluesky.storage.locks import held
from danmax_bluesky.tomography.parameters import Parameter, ParameterError, Value, parameters_of
from danmax_bluesky.tomography.scan import TomoScan

_FORMAT = "danmax configurator 1"
_EMPTY = json.dumps({"format": _FORMAT, "values": {}})
_REMEDY = "move the file away to start again from the defaults"
_LOCK_TIMEOUT_S = 5.0


PARAMETERS: tuple[Parameter, ...] = parameters_of(TomoScan)
"""The inputs of the next scan, made from the description of a scan."""


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
    raise ParameterError(f"no scan parameter {name!r}: {nearest(name, BY_NAME)}")


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
