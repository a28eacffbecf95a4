"""The configurator as a Tango device: every scan parameter a memorized attribute with unit, limits and description.

What an attribute is set to is kept in the visit's file (see `configurator_store`), so that it outlives the server with
or without a Tango database, and a session, a shell and any Tango client see the same values. A database remembers what
was written through it, too, as it does for every memorized attribute; that memory is never written back, as it would
undo what somebody else has changed since. The written value that a client sees beside the value is the file's, too.
What a scan alone can know is read-only.
"""

import threading
from pathlib import Path
from typing import Any

import tango
from tango import AttrWriteType, AutoTangoMonitor, DevState, EnsureOmniThread, Except
from tango.server import Device, attribute, command, device_property

from danmax_bluesky.devices.configurator_store import BY_NAME, ConfiguratorStore
from danmax_bluesky.errors import DanmaxError, SettingsError
from danmax_bluesky.tomography.parameters import Parameter, ParameterError, Value

DEVICE = "danmax/tomo/configurator"
SERVER = "TomoConfigurator"

_LOOK_EVERY_S = 0.2
_TANGO_TYPES: dict[type[Value], tango.CmdArgType] = {
    bool: tango.DevBoolean,
    int: tango.DevLong64,
    float: tango.DevDouble,
    str: tango.DevString,
}
_BY_ATTRIBUTE = {known.label.lower(): known for known in BY_NAME.values()}


class TomoConfigurator(Device):
    """Scan parameters and records of one visit.

    The state is ON while nothing is measured, RUNNING during a scan, and FAULT when the file cannot be used; the status
    says why.
    """

    file = device_property(dtype=str, default_value="", doc="the visit's configurator.json")

    _watch: threading.Thread | None = None
    _has_attributes = False

    def init_device(self) -> None:
        """Open the file, and watch it once the attributes are there."""
        super().init_device()
        if not self.file:
            raise SettingsError(f"{self.get_name()}: the device property 'file' is empty; name the visit's file")
        self._store = ConfiguratorStore(Path(str(self.file)))
        self._told: dict[str, Value] = {}
        self._ended = threading.Event()
        self._look_now = threading.Event()
        if self._has_attributes:
            self._start_watching()

    def initialize_dynamic_attributes(self) -> None:
        """Make an attribute for every parameter and record."""
        for known in BY_NAME.values():
            self.add_attribute(_attribute_of(known, self._read, self._write))
            self.set_change_event(known.label, True, False)
        self.set_change_event("State", True, False)
        self._has_attributes = True
        self._start_watching()

    def delete_device(self) -> None:
        """Stop watching the file."""
        self._ended.set()
        self._look_now.set()
        if self._watch:
            self._watch.join(timeout=5.0)
        super().delete_device()

    @command(doc_in="parameters to reset; none of them means all", dtype_in=(str,))
    def Reset(self, names: list[str]) -> None:  # noqa: N802
        """Give parameters their defaults again."""
        try:
            self._store.reset(*(self._known(name).name for name in names))
        except DanmaxError as error:
            _refuse(error, "Reset")
        self._look_now.set()

    def _read(self, attr: Any) -> Value:
        known = self._known(attr.get_name())
        try:
            value = self._store.get(known.name)
        except DanmaxError as error:
            _refuse(error, known.label)
            raise
        self._follow(known, value)
        return value

    def _write(self, attr: Any) -> None:
        known = self._known(attr.get_name())
        try:
            self._store.set(known.name, attr.get_write_value())
        except DanmaxError as error:
            _refuse(error, known.label)
        self._look_now.set()

    def _follow(self, known: Parameter, value: Value) -> None:
        """What stands in the file is what was written last, whoever wrote it."""
        if not known.reported:
            self.get_device_attr().get_w_attr_by_name(known.label).set_write_value(value)

    def _known(self, attribute_name: str) -> Parameter:
        known = _BY_ATTRIBUTE.get(attribute_name.lower()) or BY_NAME.get(attribute_name)
        if known is None:
            raise ParameterError(f"no scan parameter {attribute_name!r}")
        return known

    def _start_watching(self) -> None:
        self._watch = threading.Thread(target=self._look, args=(self._ended, self._look_now), daemon=True)
        self._watch.start()

    def _look(self, ended: threading.Event, look_now: threading.Event) -> None:
        with EnsureOmniThread():
            while not ended.is_set():
                try:
                    self._tell_changes()
                except tango.DevFailed as error:  # somebody else works with the device for seconds
                    self.warn_stream(f"what changed is told later: {error}")
                look_now.wait(_LOOK_EVERY_S)
                look_now.clear()

    def _tell_changes(self) -> None:
        """Push an event for whatever differs from what was pushed last; one thread alone does, so none comes late."""
        try:
            values = self._store.read()
        except DanmaxError as error:
            self._set_state(DevState.FAULT, str(error))
            return
        measuring = values["scan_state"] != "idle"
        self._set_state(DevState.RUNNING if measuring else DevState.ON, f"{values['scan_state']}; {self._store.path}")
        for name, value in values.items():
            if self._told.get(name) != value:
                with AutoTangoMonitor(self):
                    self._follow(BY_NAME[name], value)
                    self.push_change_event(BY_NAME[name].label, value)
                self._told[name] = value

    def _set_state(self, state: DevState, status: str) -> None:
        changed = self.get_state() != state
        self.set_state(state)
        self.set_status(status)
        if changed:
            self.push_change_event("State", state)


def configurator_class(file: Path) -> type[Device]:
    """The device class with this file as its default, for a server without a database."""
    return type(
        SERVER,
        (TomoConfigurator,),
        {"file": device_property(dtype=str, default_value=str(file)), "__doc__": TomoConfigurator.__doc__},
    )


def _attribute_of(known: Parameter, read: Any, write: Any) -> attribute:
    limits = {
        key: known.kind(value)
        for key, value in (("min_value", known.low), ("max_value", known.high))
        if value is not None and known.kind in (int, float)
    }
    choices = f" ({', '.join(known.choices)})" if known.choices else ""
    return attribute(
        name=known.label,
        label=known.label,
        dtype=_TANGO_TYPES[known.kind],
        unit=known.units,
        doc=f"{known.description}{choices}",
        fget=read,
        **limits,
        **(
            {"access": AttrWriteType.READ}
            if known.reported
            else {"access": AttrWriteType.READ_WRITE, "fset": write, "memorized": True, "hw_memorized": False}
        ),
    )


def _refuse(error: DanmaxError, what: str) -> None:
    Except.throw_exception(type(error).__name__, str(error), what)
