"""Our annotated devices by the process variables of EPICS: a shutter, a ring current, a monitor, a counter.

Shutter("fast_shutter", PvConnector({"state": "pva://I99:SHUTTER_RBV", "setpoint": "pva://I99:SHUTTER"}))
"""

from collections.abc import Mapping
from typing import Any

from ophyd_async.core import Device, DeviceConnector, DeviceFiller, Signal
from ophyd_async.epics.core import CaSignalBackend, PvaCommandBackend, PvaSignalBackend

PVA = "pva://"


class PvConnector(DeviceConnector):
    """Makes every annotated signal of a device, and finds each in a process variable of its own.

    Args:
        pvs: child -> name of its process variable; all begin with "pva://" (PVAccess), or none does (Channel Access).
    """

    _filler: DeviceFiller[Any, "PvConnector", Any] | None = None

    def __init__(self, pvs: Mapping[str, str]) -> None:
        self._pvs = pvs

    def create_children_from_annotations(self, device: Device) -> None:
        """Make the children of `device`, once."""
        if self._filler is not None:
            return
        over_pva = all(pv.startswith(PVA) for pv in self._pvs.values())
        backend = PvaSignalBackend if over_pva else CaSignalBackend
        self._filler = DeviceFiller(
            device,
            signal_backend_factory=lambda datatype: backend(datatype),
            device_connector_factory=lambda: PvConnector({}),
            command_backend_factory=lambda _signature: PvaCommandBackend(),
        )
        list(self._filler.create_signals_from_annotations(filled=False))
        self._filler.check_created()
        for name, child in device.children():
            if isinstance(child, Signal) and name in self._pvs:
                filled = self._filler.fill_child_signal(name, type(child))
                filled.read_pv = filled.write_pv = self._pvs[name].removeprefix(PVA)
        self._filler.check_filled(f"the process variables {sorted(self._pvs.values())}")
