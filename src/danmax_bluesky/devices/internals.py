"""What ophyd-async shows of a device in no public way, and this package needs.

It all stands here, but for the context of PVAccess, which only `devices.pva` knows. So a new version of ophyd-async can
break nothing else; tests/unit/devices/test_internals.py says if it does.
"""

from typing import Any

from ophyd_async.core import Device, DeviceConnector, Signal, SignalBackend


def connector_of(device: Device) -> DeviceConnector:
    """What connects a device to its control system."""
    return device._connector  # noqa: SLF001


def backend_of(signal: Signal[Any]) -> SignalBackend[Any]:
    """What reads and writes the values of a signal."""
    backend: SignalBackend[Any] = signal._connector.backend  # noqa: SLF001
    return backend
