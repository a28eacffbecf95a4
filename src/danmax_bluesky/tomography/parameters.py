"""A scan as plain values with names: what a file, a form of a control system or a signal can hold.

A configurator holds booleans, numbers and texts. The parameters are made from the options of `TomoScan`:

- a value that may be left out is its number in `About.unset`, or is switched on by a second parameter (`About.switch`);
- a value that may also be a word, such as "stable", is a number, and the word is switched on by a second parameter;
- several names are one text with spaces between them;
- a value with parts, such as `Helical`, is one parameter for each part, and does not count while the first is empty;
- of an order of angles its kind is held; a list of angles, and places, belong to one scan and are not held.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from danmax_bluesky.errors import ScanError
from danmax_bluesky.options import PLAIN, Option, options_of
from danmax_bluesky.parsing import shown
from danmax_bluesky.tomography.scan import FIELDS, TomoScan
from danmax_bluesky.tomography.sequences import AngleList, AngleSequence

Value = bool | int | float | str
_WITH_ANGLES = ("turns", "back_and_forth")
"""What belongs to the order of the angles it was given with."""


class ParameterError(ScanError):
    """A scan parameter does not exist, or may not have this value."""


@dataclass(frozen=True)
class Parameter:
    """One named value of the configurator.

    Attributes:
        name: as in Python.
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
        checked = self._converted(value)
        unit = f" {self.units}" if self.units else ""
        if isinstance(checked, float | int) and not isinstance(checked, bool):
            if not math.isfinite(checked):
                raise ParameterError(f"{self.name} = {shown(value)} is no finite number")
            if self.low is not None and checked < self.low:
                raise ParameterError(f"{self.name} = {checked:g}{unit} is below its limit of {self.low:g}{unit}")
            if self.high is not None and checked > self.high:
                raise ParameterError(f"{self.name} = {checked:g}{unit} is above its limit of {self.high:g}{unit}")
        if self.choices and checked not in self.choices:
            raise ParameterError(f"{self.name} = {shown(value)} is none of {', '.join(map(repr, self.choices))}")
        if self.pattern and not re.fullmatch(self.pattern, str(checked)):
            raise ParameterError(f"{self.name} = {shown(value)} does not read as it must: {self.description}")
        return checked

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


def parameters_of(model: type[BaseModel]) -> tuple[Parameter, ...]:
    """The parameters that hold the options of a description of a scan, in the order of its fields.

    The options that are digits of `fields_flag` have no parameters of their own.
    """
    return tuple(
        parameter for option in options_of(model) if option.name not in FIELDS for parameter in _parameters(option)
    )


def _parameters(option: Option) -> Iterator[Parameter]:
    about = option.about
    if (parts := _parts(option)) is not None:
        for part in parts:
            default = {str: "", float: 0.0, int: 0, bool: False}[part.kind]
            name, unit = f"{option.name}_{part.name}", part.about.unit
            yield Parameter(name, default, f"{option.name}: {part.help}", unit, part.low, part.high)
        return
    if (kinds := _kinds(option)) is not None:
        yield Parameter(option.name, option.default.kind, option.help, choices=kinds)
        return
    default: Any = option.default if about.usual is None else about.usual
    low, high = option.low, option.high
    help_text = option.help
    if default is None:
        default = _zero(option) if about.unset is None else about.unset
    if about.unset is not None:
        low = min(about.unset, about.unset if low is None else low)
        help_text = f"{help_text}; {about.unset:g} leaves it out"
    if option.kind is tuple:
        default, help_text = " ".join(default), f"{help_text}; with spaces between the names"
    if not isinstance(default, PLAIN):
        return
    pattern = about.pattern or (".+" if option.is_needed_text else "")
    if about.switch:
        name, means = about.switch
        yield Parameter(name, False, means)
    yield Parameter(option.name, default, help_text, about.unit, low, high, option.choices, pattern)


def _zero(option: Option) -> Any:
    return option.kind() if option.kind in PLAIN else None


def _parts(option: Option) -> tuple[Option, ...] | None:
    """The options of a value with plain parts, such as `Helical`; None for any other."""
    if len(option.members) != 1 or not isinstance(option.members[0], type):
        return None
    if not issubclass(option.members[0], BaseModel):
        return None
    parts = options_of(option.members[0])
    return parts if all(part.kind in PLAIN for part in parts) else None


def _kinds(option: Option) -> tuple[str, ...] | None:
    """The kinds of a value that is one of several models without any field but `kind`; None for any other option."""
    models = [member for member in option.members if isinstance(member, type) and issubclass(member, BaseModel)]
    if len(models) < 2 or len(models) != len(option.members):
        return None
    return tuple(get_args(m.model_fields["kind"].annotation)[0] for m in models if set(m.model_fields) == {"kind"})


def values_of(scan: TomoScan) -> dict[str, Value]:
    """What the parameters hold of a scan, so that the next scan begins there.

    What no parameter can hold, such as a list of angles, leaves its parameters as they are, and so does what belongs to
    other types of scan than this one.
    """
    left = {*FIELDS, *_of_other_types(scan.scan_type)}
    if isinstance(scan.angles, AngleList):
        left |= set(_WITH_ANGLES)
    values: dict[str, Value] = {}
    for option in options_of(type(scan)):
        if option.name not in left:
            values |= _values(option, getattr(scan, option.name))
    return values


def _values(option: Option, value: Any) -> dict[str, Value]:
    about = option.about
    if (parts := _parts(option)) is not None:
        return {
            parameter.name: parameter.default if value is None else getattr(value, part.name)
            for part, parameter in zip(parts, _parameters(option), strict=True)
        }
    if (kinds := _kinds(option)) is not None:
        return {option.name: value.kind} if value.kind in kinds else {}
    if about.switch:
        name, _ = about.switch
        is_word = _is_word(option, value)
        switched = is_word if _words(option) else value is not None
        return {name: switched, **({} if is_word or value is None else {option.name: value})}
    if value is None:
        return {} if about.unset is None else {option.name: about.unset}
    if option.kind is tuple:
        return {option.name: " ".join(value)}
    return {option.name: value} if isinstance(value, PLAIN) else {}


def _words(option: Option) -> tuple[str, ...]:
    """The words that a number may be instead, such as "stable"."""
    return tuple(word for member in option.members if get_origin(member) is Literal for word in get_args(member))


def _is_word(option: Option, value: Any) -> bool:
    return isinstance(value, str) and value in _words(option)


def scan_arguments(values: Mapping[str, Value], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `TomoScan`: what was given, and the remembered values for the rest.

    What is remembered and belongs to another type of scan than this one is left out.

    Args:
        values: parameter -> value that is remembered; names that are no parameter of a scan are not looked at.
        given: arguments that win; of `fields_flag` and the six options any may be given.

    Returns:
        Arguments of `TomoScan`; parameters that are switched off are left out.

    Raises:
        ScanError: two things that were given contradict each other.
    """
    left_to_fields: set[str] = {"npt_darks", "npt_flats"} if given.get("npt_fields") is not None else set()
    remembered = {name: value for name, value in _arguments(values).items() if name not in left_to_fields}
    flag = str(remembered.pop("fields_flag", ""))
    if given.get("fields_flag") or not flag:
        options = {}
    else:
        options = {name: digit == "1" for name, digit in zip(FIELDS, flag, strict=True)}
    options |= _asked_for(options, remembered, given)
    if "nsteps" not in given and (listed := _listed_angles(given.get("angles"))):
        remembered["nsteps"] = len(listed) - 1
    scan_type = given.get("scan_type", remembered.get("scan_type"))
    if "angles" in given:
        remembered = {name: value for name, value in remembered.items() if name not in _WITH_ANGLES}
    return {**_fitting(remembered, scan_type), **options, **given}


def _listed_angles(given: Any) -> tuple[float, ...]:
    """The angles of a list that was given, in whichever form; () for any other order, and for what is no order."""
    try:
        angles = TypeAdapter(AngleSequence).validate_python(given)
    except ValidationError:
        return ()
    return angles.angles_deg if isinstance(angles, AngleList) else ()


def _fitting(remembered: Mapping[str, Any], scan_type: Any) -> dict[str, Any]:
    """What is remembered, without what belongs to another type of scan than this one."""
    others = _of_other_types(scan_type)
    return {name: value for name, value in remembered.items() if name not in others}


def _of_other_types(scan_type: Any) -> set[str]:
    """The options that belong to other types of scan than this one."""
    return {o.name for o in options_of(TomoScan) if o.about.only_for and scan_type not in o.about.only_for}


def _arguments(values: Mapping[str, Value]) -> dict[str, Any]:
    """The values of the parameters as arguments of a `TomoScan`."""
    arguments: dict[str, Any] = {}
    for option in options_of(TomoScan):
        about = option.about
        if (parts := _parts(option)) is not None:
            held = {part.name: values.get(f"{option.name}_{part.name}") for part in parts}
            if held[parts[0].name]:
                arguments[option.name] = held
            continue
        if option.name not in values:
            continue
        value = values[option.name]
        switched = bool(values.get(about.switch[0])) if about.switch else None
        if switched is not None and (words := _words(option)):
            arguments[option.name] = words[0] if switched else value
        elif switched is not False and (about.unset is None or value != about.unset):
            arguments[option.name] = tuple(str(value).split()) if option.kind is tuple else value
    return arguments


def _asked_for(options: Mapping[str, bool], remembered: dict[str, Any], given: Mapping[str, Any]) -> dict[str, bool]:
    """What counts of darks and flats that were just named say of taking them, against what is only remembered.

    Args:
        options: get_dark and the others as remembered; empty where a flag was given.
        remembered: values; a count that contradicts what was just asked for is put right in it.
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
            number = remembered.get(f"npt_{what}", remembered.get("npt_fields"))
            if asked and not given.get("npt_fields") and number == 0:
                usual = TomoScan.model_fields["npt_fields"].default
                remembered[f"npt_{what}"] = int(remembered.get("npt_fields", usual)) or usual
        elif not count:
            changed |= {name: False for name in pair if name not in given and options}
            if what == "flats" and "flats_every" not in given:
                remembered["flats_every"] = 0
        elif options and not any(wanted.values()):
            refused = [name for name in pair if name in given]
            if refused:
                others = " and ".join(f"{name} = False" for name in pair)
                raise ScanError(f"npt_{what} = {count} asks for {what}, but {others} take none; leave one of them out")
            changed[pair[0]] = True
    return changed
