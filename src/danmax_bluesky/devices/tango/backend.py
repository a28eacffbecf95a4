"""Signals and commands on Tango attributes and commands, by events where the server sends them, else by polling.

How a child of a device is found in Tango is a value: an `Attribute`, an `AttributeLimit`, a `Command`,
`CommandsByValue` (a text that is set by commands), a `FilePath` in parts, or a `Constant` value that this hardware
does not tell.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import tango
from bluesky.protocols import Reading
from event_model import DataKey, Limits, LimitsRange
from ophyd_async.core import (
    Callback,
    CommandBackend,
    NotConnectedError,
    SignalBackend,
    SignalMetadata,
    StrictEnum,
    make_datakey,
)

from danmax_bluesky.devices.disconnects import LinkLostError, LostReading
from danmax_bluesky.devices.tango.connection import Link
from danmax_bluesky.errors import DeviceError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attribute:
    """A child that is an attribute.

    Attributes:
        name: of the attribute.
        words: our text -> theirs, for texts and enumerations that are called otherwise.
        true: texts or states that mean True, for a bool that is none in Tango.
        scale: theirs = ours * scale.
        offset: theirs = ours * scale + offset.
        units: where the control system has none.
    """

    name: str
    words: Mapping[str, str] = field(default_factory=dict)
    true: tuple[str, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    units: str = ""


@dataclass(frozen=True)
class AttributeLimit:
    """A child that is the limit in an attribute's configuration; `default` where none is configured."""

    name: str
    part: Literal["min_value", "max_value"]
    default: float
    units: str = ""


@dataclass(frozen=True)
class CommandsByValue:
    """A text that is set by a command without argument: text -> command; it is read from `state`."""

    commands: Mapping[str, str]
    state: Attribute


@dataclass(frozen=True)
class FilePath:
    """The path of a file that is written to three attributes: its folder, its name, and the suffix of its name."""

    directory: str
    name: str
    suffix: str

    @property
    def parts(self) -> list[str]:
        """The attributes."""
        return [self.directory, self.name, self.suffix]


@dataclass(frozen=True)
class Constant:
    """A value that the hardware neither tells nor takes."""

    value: Any


@dataclass(frozen=True)
class Command:
    """A child that is one command, or several in this order.

    Attributes:
        names: of the commands.
        lasting: each may take longer than an answer to a question.
    """

    names: tuple[str, ...]
    lasting: bool = False


SignalSource = Attribute | AttributeLimit | CommandsByValue | FilePath | Constant


class TangoBackend(SignalBackend[Any]):
    """A signal on an attribute of a link's device.

    Args:
        datatype: of the signal.
        link: to the device.
    """

    def __init__(self, datatype: type[Any] | None, link: Link) -> None:
        super().__init__(datatype)
        self.link = link
        self._source: SignalSource = Constant(None)
        self._config: Any = None  # tango.AttributeInfoEx, whose stub says otherwise
        self._put: Any = None
        self._callback: Callback[Reading[Any]] | None = None
        self._watch: _Watch | None = None

    def set_source(self, source: SignalSource) -> None:
        """Tell where the child is; before connecting."""
        self._source = source

    def source(self, name: str, read: bool) -> str:
        """Address of the attribute."""
        match self._source:
            case Constant():
                return f"fixed://{name}"
            case CommandsByValue(state=attribute):
                return self.link.address_of(attribute.name)
            case named:
                return self.link.address_of(named.name)

    async def connect(self, timeout: float) -> None:
        """Read the attribute's configuration, and see that its type is that of the signal."""
        if isinstance(self._source, Constant):
            return
        name = self._attribute.name
        try:
            async with asyncio.timeout(timeout):
                self._config = await self.link.ask(lambda proxy: proxy.get_attribute_config(name), name)
                await self.get_value()
        except TimeoutError as error:
            raise NotConnectedError(self.source(name, True)) from error
        except (DeviceError, TypeError, ValueError) as error:
            raise NotConnectedError(f"{self.source(name, True)}: {error}") from error

    @property
    def _attribute(self) -> Attribute:
        match self._source:
            case Attribute():
                return self._source
            case CommandsByValue(state=attribute):
                return attribute
            case AttributeLimit(name=name) | FilePath(name=name):
                return Attribute(name)
        raise DeviceError(f"{self.link.name}: a fixed value has no attribute")

    async def put(self, value: Any) -> None:
        """Write the attribute, or carry out the command."""
        match self._source:
            case Attribute() as attribute:
                written = to_tango(value, attribute, self._config)
                # given its configuration, pytango need not ask for it at every write
                target = self._config or attribute.name
                await self.link.ask(lambda proxy: proxy.write_attribute(target, written), f"{attribute.name} = {value}")
            case CommandsByValue(commands=commands):
                if value not in commands:
                    raise DeviceError(f"{self.link.name}: {value!r} is none of {', '.join(commands)}")
                await self.link.ask(lambda proxy: proxy.command_inout(commands[value]), commands[value])
            case FilePath(parts=parts):
                path = PurePosixPath(value)
                pairs = list(zip(parts, (str(path.parent), path.stem, path.suffix), strict=True))
                await self.link.ask(lambda proxy: proxy.write_attributes(pairs), f"{', '.join(parts)} = {value}")
            case Constant():
                self._source = Constant(value)
            case AttributeLimit() as source:
                raise DeviceError(f"{self.link.name}: {source.name}.{source.part} is set in the control system")
        self._put = value

    async def get_datakey(self, source: str) -> DataKey:
        """Type, units, limits and precision, as the control system has them."""
        if self.datatype is None:
            raise DeviceError(f"{self.link.name}: a signal without a type cannot be described")
        return make_datakey(self.datatype, await self.get_value(), source, self._metadata())

    def _metadata(self) -> SignalMetadata:
        metadata = SignalMetadata()
        config = self._config
        if isinstance(self.datatype, type) and issubclass(self.datatype, StrictEnum):
            metadata["choices"] = [choice.value for choice in self.datatype]
        if config is None:
            return metadata
        if units := self._units(config.unit):
            metadata["units"] = units
        low, high = _number(config.min_value), _number(config.max_value)
        if isinstance(self._source, Attribute) and (low is not None or high is not None):
            metadata["limits"] = Limits(control=LimitsRange(low=low, high=high))
        if self.datatype is float and (digits := re.fullmatch(r"%\d*\.(\d+)[fe]", config.format)):
            metadata["precision"] = int(digits[1])
        return metadata

    def _units(self, unit: str) -> str:
        shown = "" if unit == "No unit" else unit
        return shown or (self._source.units if isinstance(self._source, Attribute | AttributeLimit) else "")

    async def get_reading(self) -> Reading[Any]:
        """The value with the server's time."""
        if isinstance(self._source, Constant):
            return Reading(value=self._convert(self._source.value), timestamp=0.0, alarm_severity=0)
        if isinstance(self._source, AttributeLimit):
            return await self._limit(self._source)
        if isinstance(self._source, FilePath):
            return await self._path(self._source)
        attribute = self._attribute
        return self._reading(await self.link.ask(lambda proxy: proxy.read_attribute(attribute.name), attribute.name))

    async def _limit(self, source: AttributeLimit) -> Reading[Any]:
        self._config = await self.link.ask(lambda proxy: proxy.get_attribute_config(source.name), source.name)
        limit = _number(getattr(self._config, source.part))
        value = source.default if limit is None else limit
        return Reading(value=self._convert(value), timestamp=self.link.last_answer or 0.0, alarm_severity=0)

    async def _path(self, source: FilePath) -> Reading[Any]:
        answers: Any = await self.link.ask(lambda proxy: proxy.read_attributes(source.parts), ", ".join(source.parts))
        directory, name, suffix = (answer.value or "" for answer in answers)
        path = PurePosixPath(directory, f"{name}{suffix}")
        return Reading(value=str(path), timestamp=answers[1].time.totime(), alarm_severity=0)

    async def get_value(self) -> Any:
        """The value."""
        return (await self.get_reading())["value"]

    async def get_setpoint(self) -> Any:
        """What was written last, by us or, if it was not us, as the server has it."""
        if self._put is not None or not isinstance(self._source, Attribute):
            return self._put if self._put is not None else await self.get_value()
        name = self._source.name
        answer: Any = await self.link.ask(lambda proxy: proxy.read_attribute(name), name)
        return from_tango(answer.w_value, self.datatype, self._source, self._config)

    def set_callback(self, callback: Callback[Reading[Any]] | None) -> None:
        """Begin or end to tell readings as they come."""
        if callback and self._callback:
            raise RuntimeError("Cannot set a callback when one is already set")
        self._callback = callback
        if self._watch is not None:
            self.link.ignore(self._attribute.name, self._watch)
            self._watch = None
        if callback is None:
            return
        if isinstance(self._source, Constant):
            callback(Reading(value=self._convert(self._source.value), timestamp=0.0, alarm_severity=0))
            return
        self._watch = _Watch(self, callback)
        self.link.listen(self._attribute.name, self._watch)

    def _convert(self, value: Any) -> Any:
        return self.datatype(value) if isinstance(self.datatype, type) and value is not None else value

    def _reading(self, answer: Any) -> Reading[Any]:
        if isinstance(self._source, AttributeLimit | FilePath):
            raise DeviceError(f"{self.link.name}: a limit or a path sends no events")
        value = from_tango(answer.value, self.datatype, self._attribute, self._config)
        return Reading(value=value, timestamp=answer.time.totime(), alarm_severity=int(answer.quality))


class _Watch:
    """Tells one signal's callback; what is older than what was told already is left out."""

    def __init__(self, backend: TangoBackend, callback: Callback[Reading[Any]]) -> None:
        self._backend = backend
        self._callback = callback
        self._latest: Reading[Any] | None = None

    def hear(self, answer: Any) -> None:
        """Tell a reading, unless it says nothing new."""
        try:
            reading = self._backend._reading(answer)  # noqa: SLF001  the watch is a part of the backend
        except DeviceError as error:
            logger.debug("%s", error)
            return
        latest = self._latest
        if latest is None or (reading["timestamp"] >= latest["timestamp"] and reading["value"] != latest["value"]):
            self._latest = reading
            self._tell(reading)

    def lose(self, error: LinkLostError) -> None:
        """Tell that there is no value."""
        self._latest = None
        self._tell(LostReading(error, self._backend.link.last_answer or 0.0))

    def _tell(self, reading: Any) -> None:
        try:
            self._callback(reading)
        except LinkLostError as error:
            logger.debug("a listener heard: %s", error)


class TangoCommandBackend(CommandBackend[[], None]):
    """A command of a link's device, or several in a row."""

    def __init__(self, signature: Any, link: Link) -> None:
        super().__init__(signature)
        self.link = link
        self._names: tuple[str, ...] = ()
        self._lasting = False

    def set_commands(self, command: Command) -> None:
        """Tell which commands; before connecting."""
        self._names, self._lasting = command.names, command.lasting

    def source(self, name: str) -> str:
        """Address of the first command."""
        return self.link.address_of(self._names[0] if self._names else name)

    async def connect(self, timeout: float) -> None:
        """See that the commands exist."""
        try:
            async with asyncio.timeout(timeout):
                for name in self._names:
                    await self.link.ask(lambda proxy, name=name: proxy.get_command_config(name), name)
        except (DeviceError, TimeoutError) as error:
            raise NotConnectedError(f"{self.source('')}: {error}") from error

    async def execute(self) -> None:
        """Carry them out, one after the other."""
        for name in self._names:
            if self._lasting:
                await self.link.order(name)
            else:
                await self.link.ask(lambda proxy, name=name: proxy.command_inout(name), name)


def from_tango(value: Any, datatype: type[Any] | None, attribute: Attribute, config: Any) -> Any:
    """Our value for one of Tango's.

    Raises:
        DeviceError: it cannot be one of the signal's type.
    """
    if value is None:
        raise DeviceError(f"{attribute.name} has no value now")
    text = _text(value, config)
    if datatype is bool:
        return text in attribute.true if attribute.true else bool(value)
    if datatype in (int, float):
        return datatype((value - attribute.offset) / attribute.scale)
    ours = {theirs: word for word, theirs in attribute.words.items()}.get(text, text)
    try:
        return datatype(ours) if isinstance(datatype, type) else ours
    except ValueError:
        raise DeviceError(f"{attribute.name} = {text!r} is not known; name what it means in the settings") from None


def to_tango(value: Any, attribute: Attribute, config: Any) -> Any:
    """Tango's value for one of ours."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    if isinstance(value, str):
        theirs = attribute.words.get(str(value), str(value))
        labels = list(config.enum_labels) if config is not None else []
        return labels.index(theirs) if theirs in labels else theirs
    scaled = value * attribute.scale + attribute.offset
    whole = config is not None and config.data_type not in (tango.DevDouble, tango.DevFloat)
    return round(scaled) if whole else scaled


def _text(value: Any, config: Any) -> str:
    if isinstance(value, tango.DevState):
        return str(value)
    labels = list(config.enum_labels) if config is not None else []
    return str(labels[int(value)]) if labels else str(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
