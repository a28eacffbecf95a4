"""PVAccess as we use it: which servers are found, and what happens when one is lost."""

import asyncio
import atexit
import logging
import os
import time
from typing import Any

from bluesky.protocols import Reading
from ophyd_async.core import Callback, Device, Signal, walk_devices
from ophyd_async.epics.core import _p4p as transport
from p4p.client.asyncio import Context
from p4p.client.raw import Disconnected

from danmax_bluesky.devices.lost import LinkLostError, LostReading, lost

logger = logging.getLogger(__name__)


def use_server(address: str) -> None:
    """Find the PandA's server at `host:port`, and nothing anywhere else; before the first connection.

    An empty address leaves it to the environment and to broadcasts.
    """
    if not address:
        return
    environment = {
        "EPICS_PVA_ADDR_LIST": address.rpartition(":")[0],
        "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        "EPICS_PVA_NAME_SERVERS": address,
    }
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.environ.update(environment)
        forget()


def forget() -> None:
    """Close every connection, so that the next one is made anew with the environment as it is then."""
    # ophyd-async keeps one context for the process, and has no other way to end it
    context, transport._context = transport._context, None  # noqa: SLF001
    if context is not None:
        context.close()


def _begin() -> None:
    """Make the context that ophyd-async would make, which then would not like to be forgotten."""
    if transport._context is None:  # noqa: SLF001
        transport._context = Context("pva", nt=False)  # noqa: SLF001


atexit.register(forget)


def watch(device: Device, address: str) -> None:
    """Let every subscription to a device be told when its server is lost, and when it is back; once it is connected.

    Args:
        device: connected over PVAccess.
        address: for messages.
    """
    for child in walk_devices(device).values():
        if isinstance(child, Signal):
            backend = child._connector.backend  # noqa: SLF001  a signal shows its backend in no other way
            if isinstance(backend, transport.PvaSignalBackend) and not isinstance(backend.set_callback, _Watched):
                backend.set_callback = _Watched(backend, device.name, address)  # type: ignore[method-assign]


class _Watched:
    """`set_callback` of a signal's backend that also tells of a lost server."""

    def __init__(self, backend: transport.PvaSignalBackend[Any], name: str, address: str) -> None:
        self._backend = backend
        self._name = name
        self._address = address
        self._last: float | None = None

    def __call__(self, callback: Callback[Reading[Any]] | None) -> None:
        backend = self._backend
        if callback and backend.subscription:
            raise RuntimeError("Cannot set a callback when one is already set")
        if backend.subscription:
            backend.subscription.close()
            backend.subscription = None
        if callback is None:
            return
        first = True

        async def hear(value: Any) -> None:
            nonlocal first
            if first and isinstance(value, Disconnected):  # every subscription begins with that
                first = False
                return
            try:
                callback(self._reading(value))
            except LinkLostError as error:
                logger.debug("a listener heard: %s", error)

        fields = backend.converter.value_fields + backend.converter.reading_fields
        backend.subscription = transport.context().monitor(
            backend.read_pv, hear, request=f"field({','.join(fields)})", notify_disconnect=True
        )

    def _reading(self, value: Any) -> Any:
        if isinstance(value, Exception):
            error = lost(
                self._name, f"pva://{self._backend.read_pv}", self._last, f"{self._address}: {value or 'lost'}"
            )
            logger.warning("%s", error)
            return LostReading(error, self._last or 0.0)
        self._last = time.time()
        return self._backend._make_reading(value)  # noqa: SLF001  the one conversion that there is


async def connect(device: Device, address: str, timeout_s: float, again: bool = False) -> None:
    """Connect a device over PVAccess and watch it.

    Args:
        device: whose signals are process variables.
        address: `host:port` of its server, or "".
        timeout_s: the longest wait.
        again: connect anew although it was connected before.

    Raises:
        NotConnectedError: its server is not found.
    """
    use_server(address)
    if again:
        forget()
        await asyncio.sleep(0)
    _begin()
    await device.connect(timeout=timeout_s, force_reconnect=again)
    watch(device, address)
