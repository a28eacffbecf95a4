"""The twin's PandA over PVAccess, with the PVI structures by which fastcs-PandABlocks presents itself."""

import functools
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from p4p import Type, Value
from p4p.nt import NTEnum, NTScalar, NTTable
from p4p.server import Server, ServerOperation
from p4p.server.thread import SharedPV
from p4p.util import WorkQueue

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.twin.panda import COMPARES, SEQUENCERS
from danmax_bluesky.twin.servers.hub import PANDA
from danmax_bluesky.twin.servers.wire import AnyHub

LOOPBACK = "127.0.0.1"
BITS = ("ZERO", "ONE")
UNITS = ("min", "s", "ms", "us")
DIRECTIONS = ("Positive", "Negative", "Either")
MODES = ("FIRST_N", "LAST_N", "FOREVER")
PULSES = ("pulse1", "pulse2")
BUSES = tuple(f"INENC{number}.VAL" for number in range(1, 9))
COLUMNS = (
    ("repeats", "H"),
    ("trigger", "s"),
    ("position", "i"),
    ("time1", "I"),
    *((f"out{line}1", "?") for line in "abcdef"),
    ("time2", "I"),
    *((f"out{line}2", "?") for line in "abcdef"),
)


@dataclass(frozen=True)
class Field:
    """One process variable of a block.

    Attributes:
        kind: "?", "i", "d" or "s" of PVAccess, "enum" or "table".
        first: its value at first.
        choices: of an enum.
        columns: of a table, (name, type) each.
        writable: False if only the PandA changes it.
    """

    kind: str
    first: Any
    choices: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    writable: bool = True

    @functools.cached_property
    def _type(self) -> Any:
        """One for all values: PVAccess takes no other than that with which a variable began."""
        if self.kind == "enum":
            return NTEnum()
        if self.kind == "table":
            return NTTable.buildType(columns=[(name, f"a{kind}") for name, kind in self.columns])
        return NTScalar(self.kind)

    def value(self, now: Any) -> Value:
        """A PVAccess value."""
        if self.kind == "table":
            columns = {name: _column(now.get(name, ()), kind) for name, kind in self.columns}
            return Value(self._type, {"labels": [name for name, _ in self.columns], "value": columns})
        plain = {"index": self.choices.index(now), "choices": list(self.choices)} if self.kind == "enum" else now
        return self._type.wrap(plain, timestamp=time.time())

    def python(self, value: Value) -> Any:
        """What a client wrote."""
        match self.kind:
            case "enum":
                return self.choices[int(value["value.index"])]
            case "table":
                return {name: _column(value["value"][name], kind) for name, kind in self.columns}
            case "?":
                return bool(value["value"])
        return value["value"]


class PandaServer:
    """Serves the PandA of a hub.

    Args:
        hub: with the world.
        prefix: of all process variables, such as "TWIN-PANDA:".
        host: the only address to listen on.
        port: TCP port; 0 takes a free one.
    """

    def __init__(self, hub: AnyHub, prefix: str, host: str = LOOPBACK, port: int = 0) -> None:
        self.prefix = prefix
        self._hub = hub
        self._queue = WorkQueue(maxsize=1000)
        self._worker = threading.Thread(target=self._queue.handle, name="panda requests", daemon=True)
        self._fields: dict[str, Field] = {}
        self._pvs: dict[str, SharedPV] = {}
        served: dict[str, SharedPV] = {}
        tree: dict[str, dict[str, Any]] = {}
        for block, name, field in _fields(hub):
            register = f"{block}.{name}"
            pv_name = f"{prefix}{block.upper()}:{name.upper()}"
            served[pv_name] = self._pvs[register] = self._serve(register, field)
            self._fields[register] = field
            tree.setdefault(block, {})[name] = {"rw" if field.writable else "r": pv_name}
        served |= _pvi(prefix, tree)
        self._server = Server(
            providers=[served],
            conf={
                "EPICS_PVAS_INTF_ADDR_LIST": host,
                "EPICS_PVAS_BEACON_ADDR_LIST": host,
                "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
                "EPICS_PVAS_SERVER_PORT": str(port),
                "EPICS_PVAS_BROADCAST_PORT": "0",
            },
            useenv=False,
        )
        self._worker.start()
        hub.listen(self._hear)

    @property
    def address(self) -> str:
        """`host:port` of the server, for EPICS_PVA_NAME_SERVERS."""
        conf = self._server.conf()
        return f"{conf['EPICS_PVAS_INTF_ADDR_LIST'].split(':')[0]}:{conf['EPICS_PVAS_SERVER_PORT']}"

    def close(self) -> None:
        """Serve no more."""
        self._server.stop()
        self._queue.interrupt()
        self._worker.join(5.0)

    def _serve(self, register: str, field: Field) -> SharedPV:
        pv = SharedPV(queue=self._queue, initial=field.value(field.first))
        if field.writable:
            pv.put(functools.partial(self._put, register, field))
        return pv

    def _put(self, register: str, field: Field, pv: SharedPV, operation: ServerOperation) -> None:
        raw = operation.value()
        try:
            if not register.startswith("pulse"):  # the virtual PandA has none: they only remember
                self._hub.put(PANDA, register, field.python(raw))
        except (DanmaxError, IndexError, ValueError, OSError) as error:
            operation.done(error=f"{register}: {error}")
            return
        pv.post(raw)
        operation.done()

    def _hear(self, device: str, register: str, value: Any) -> None:
        if device == PANDA and register in self._pvs:
            self._pvs[register].post(self._fields[register].value(value))


def _fields(hub: AnyHub) -> Iterator[tuple[str, str, Field]]:
    """(block, field, what it is) of everything that is served."""
    facts = hub.panda_facts
    buses = tuple(dict.fromkeys(("ZERO", hub.settings.encoder.source, *BUSES)))
    enable = Field("enum", "ZERO", BITS)
    number, whole = Field("d", 0.0), Field("i", 0)
    flag = Field("?", False, writable=False)
    for block in PULSES:
        for name, field in (("delay", number), ("pulses", whole), ("step", number), ("width", number)):
            yield block, name, field
        yield block, "enable", enable
    for block in SEQUENCERS:
        yield block, "table", Field("table", {}, columns=COLUMNS)
        yield block, "active", flag
        yield block, "repeats", Field("i", 1)
        yield block, "prescale", Field("d", 1.0)
        yield block, "prescale_units", Field("enum", "us", UNITS)
        yield block, "enable", enable
        yield block, "posa", Field("enum", facts.buses[block], buses)
    for block in COMPARES:
        yield block, "active", flag
        yield block, "dir", Field("enum", "Positive", DIRECTIONS)
        yield block, "enable", enable
        for name in ("pulses", "start", "step", "width"):
            yield block, name, whole
    yield "pcap", "active", flag
    yield "pcap", "arm", Field("?", False)
    yield "data", "hdf_directory", Field("s", "")
    yield "data", "hdf_file_name", Field("s", "")
    yield "data", "num_capture", whole
    yield "data", "num_captured", Field("i", 0, writable=False)
    yield "data", "create_directory", whole
    yield "data", "directory_exists", Field("?", True, writable=False)
    yield "data", "capture_mode", Field("enum", "FIRST_N", MODES)
    yield "data", "capture", Field("?", False)
    yield "data", "flush_period", Field("d", 0.1)
    datasets = list(facts.datasets)
    columns = (("name", "s"), ("dtype", "s"))
    table = {"name": datasets, "dtype": ["float64"] * len(datasets)}
    yield "data", "datasets", Field("table", table, columns=columns, writable=False)


def _pvi(prefix: str, tree: Mapping[str, Mapping[str, Mapping[str, str]]]) -> dict[str, SharedPV]:
    """The structures that tell a client what there is: a block of which there are several has entries __1, __2."""
    served: dict[str, SharedPV] = {}
    top: dict[str, Mapping[str, str]] = {}
    numbered: dict[str, dict[str, Mapping[str, str]]] = {}
    for block, entries in tree.items():
        name = f"{prefix}{block.upper()}:PVI"
        served[name] = _structure(entries)
        kind = block.rstrip("0123456789")
        if kind == block:
            top[block] = {"d": name}
        else:
            numbered.setdefault(kind, {})[f"__{block.removeprefix(kind)}"] = {"d": name}
    for kind, entries in numbered.items():
        name = f"{prefix}{kind.upper()}:PVI"
        served[name] = _structure(entries)
        top[kind] = {"d": name}
    served[f"{prefix}PVI"] = _structure(top)
    return served


def _structure(entries: Mapping[str, Mapping[str, str]]) -> SharedPV:
    shape = [(name, ("S", None, [(key, "s") for key in entry])) for name, entry in entries.items()]
    kind = Type([("value", ("S", None, shape))], id="epics:nt/NTPVI:1.0")
    return SharedPV(initial=Value(kind, {"value": {name: dict(entry) for name, entry in entries.items()}}))


def _column(content: Any, kind: str) -> Any:
    types = {"H": np.uint16, "i": np.int32, "I": np.uint32, "?": np.bool_}
    if kind == "s":
        return [str(getattr(item, "value", item)) for item in content]
    return np.asarray(content, dtype=types[kind])


def client_environment(address: str) -> dict[str, str]:
    """Environment by which a client finds this server, and no other: set it before the client's first connection."""
    return {
        "EPICS_PVA_ADDR_LIST": address.split(":")[0],
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_NAME_SERVERS": address,
    }
