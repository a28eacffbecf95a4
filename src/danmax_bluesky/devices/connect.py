"""How annotated devices come to life without a control system.

Our devices declare their signals by annotation and take any `DeviceConnector`. `SoftConnector` makes the annotated
children as soft signals and commands; connected with `mock=True` they are what the twin's behaviour is bound to. At
the beamline the same classes take a connector of the control system.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ophyd_async.core import Device, DeviceConnector, DeviceFiller, SignalR, SoftCommandBackend, SoftSignalBackend


class SoftConnector(DeviceConnector):
    """Creates every annotated child in memory: signals, commands and, with a connector of their own, devices."""

    _filler: "DeviceFiller[SoftSignalBackend, SoftConnector, SoftCommandBackend] | None" = None

    def create_children_from_annotations(self, device: Device) -> None:
        """Make the children of `device`; a second call does nothing, so that a class may call it early."""
        if self._filler is not None:
            return
        self._filler = DeviceFiller(
            device,
            signal_backend_factory=SoftSignalBackend,
            device_connector_factory=SoftConnector,
            command_backend_factory=_soft_command,
        )
        # the generators make one child each time they are asked for the next
        list(self._filler.create_devices_from_annotations())
        list(self._filler.create_signals_from_annotations())
        list(self._filler.create_commands_from_annotations())
        self._filler.check_created()


def _soft_command(signature: inspect.Signature | None) -> SoftCommandBackend:
    expected = signature or inspect.Signature([], return_annotation=None)
    if expected.return_annotation is None:

        def nothing(*_arguments: Any) -> None:
            return None

        return SoftCommandBackend(nothing, expected)

    def empty(*_arguments: Any) -> Any:
        return expected.return_annotation()

    return SoftCommandBackend(empty, expected)


@asynccontextmanager
async def woken_by(*signals: SignalR) -> AsyncIterator[asyncio.Event]:
    """Gives an event that is set whenever one of the signals is updated, from the start once for each."""
    event = asyncio.Event()

    def wake(_reading: Any) -> None:
        event.set()

    for signal in signals:
        signal.subscribe_reading(wake)
    try:
        yield event
    finally:
        for signal in signals:
            signal.clear_sub(wake)
