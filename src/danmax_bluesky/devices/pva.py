"""PVAccess as we use it: which servers are found, and what happens when one is lost."""

import asyncio
import atexit
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bluesky.protocols import Reading
from ophyd_async.core import Callback, Device, Signal, walk_devices
from ophyd_async.epics.core import _p4p as transport
from p4p.client.asyncio import Context
from p4p.client.raw import Cancelled, Disconnected, RemoteError

from danmax_bluesky.devices.disconnects import LinkLostError, LostReading, lost
from danmax_bluesky.devices.internals import backend_of

logger = logging.getLogger(__name__)
ANSWER_S = 1.0
TIMEOUT_S = 5.0
LOST_S = 0.2


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


class PvaWatch:
    """Tells every subscription to a device when its server is lost, and when it is back.

    Args:
        device: whose signals are process variables.
        address: `host:port` of its server, or "" if broadcasts find it.
    """

    def __init__(self, device: Device, address: str) -> None:
        self.lost: LinkLostError | None = None
        self.last_loss: LinkLostError | None = None
        self.last_answer: float | None = None
        self._device = device
        self._address = address
        self._watched: list[_Watched] = []
        self._pulse: Any = None  # a subscription of ours, by which a lost server is noticed whoever else listens

    async def connect(self, timeout_s: float) -> None:
        """Connect the device, or connect it anew.

        Raises:
            NotConnectedError: its server is not found.
        """
        use_server(self._address)
        again = bool(self._watched)
        if again:
            forget()
        _begin()
        await self._device.connect(timeout=timeout_s, force_reconnect=True)
        self.lost = None
        if not self._watched:
            self._watch()
        elif again:
            for watched in self._watched:
                watched.renew()
        self._feel_pulse()

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._device.name

    async def revive(self) -> bool:
        """True if the server answers now; False if the device has to be connected anew."""
        if not self._watched:
            return False
        _begin()
        try:
            async with asyncio.timeout(ANSWER_S):
                await transport.context().get(self._watched[0].pv)
        except (TimeoutError, Disconnected, RemoteError, Cancelled):
            return False
        return True

    async def look(self) -> None:
        """See whether the server answers, if it was connected; `lost` tells."""
        if self._watched:
            with contextlib.suppress(LinkLostError):
                await self._watched[0].get()

    def close(self) -> None:
        """End every subscription and the connection."""
        for watched in self._watched:
            watched(None)
        if self._pulse is not None:
            self._pulse.close()
        forget()

    def tell(self, value: Any, pv: str) -> LinkLostError | None:
        """Note that a value came, or an exception in its place; returns what then is told instead of the value."""
        if not isinstance(value, Exception):
            self.last_answer, self.lost = time.time(), None
            return None
        return self._lose(pv, value)

    def _watch(self) -> None:
        for child in walk_devices(self._device).values():
            if isinstance(child, Signal):
                backend = backend_of(child)
                if isinstance(backend, transport.PvaSignalBackend):
                    self._watched.append(_Watched(backend, self))
                    backend.set_callback = self._watched[-1]  # type: ignore[method-assign]
                    for name in ("get_value", "get_reading", "get_setpoint", "put"):
                        setattr(backend, name, self._in_time(getattr(backend, name), backend.read_pv))

    def _feel_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.close()
        pv = self._watched[0].pv
        connected = False

        async def hear(value: Any) -> None:
            nonlocal connected
            if connected or not isinstance(value, Disconnected):  # it begins with that
                connected = True
                self.tell(value, pv)

        self._pulse = transport.context().monitor(pv, hear, notify_disconnect=True)

    def _in_time(self, ask: Callable[..., Awaitable[Any]], pv: str) -> Callable[..., Awaitable[Any]]:
        """The same question, answered soon or not at all: at once, if the server is known to be lost."""

        async def asked(*arguments: Any) -> Any:
            try:
                async with asyncio.timeout(LOST_S if self.lost else TIMEOUT_S):
                    answer = await ask(*arguments)
            except (TimeoutError, Disconnected) as error:
                raise self._lose(pv, error) from error
            self.last_answer, self.lost = time.time(), None
            return answer

        return asked

    def _lose(self, pv: str, error: Exception) -> LinkLostError:
        if self.lost is None:
            reason = str(error) or type(error).__name__
            self.lost = self.last_loss = lost(self._device.name, f"pva://{pv}", self.last_answer, reason)
            logger.warning("%s", self.lost)
            for watched in self._watched:
                watched.lose(self.lost)
        return self.lost


class _Watched:
    """`set_callback` of a signal's backend that also tells of a lost server."""

    def __init__(self, backend: transport.PvaSignalBackend[Any], watch: PvaWatch) -> None:
        self._backend = backend
        self._watch = watch
        self._callback: Callback[Reading[Any]] | None = None
        self._unheard = False  # a subscription begins before its channel is connected, or after that was lost

    @property
    def pv(self) -> str:
        """Name of the process variable."""
        return self._backend.read_pv

    def __call__(self, callback: Callback[Reading[Any]] | None) -> None:
        if callback and self._callback:
            raise RuntimeError("Cannot set a callback when one is already set")
        self._callback = callback
        self.renew()

    async def get(self) -> Any:
        """The value, asked for anew."""
        return await self._backend.get_value()

    def lose(self, error: LinkLostError) -> None:
        """Tell a listener that has heard nothing yet; the others hear from their own subscriptions."""
        if self._unheard and self._callback is not None:
            self._unheard = False
            self._tell(LostReading(error, 0.0))

    def renew(self) -> None:
        """End the subscription there is, and begin a new one if somebody listens."""
        backend, callback = self._backend, self._callback
        if backend.subscription:
            backend.subscription.close()
            backend.subscription = None
        self._unheard = False
        if callback is None:
            return
        begins = True

        async def hear(value: Any) -> None:
            nonlocal begins
            first, begins = begins, False
            if first and isinstance(value, Disconnected) and self._watch.lost is None:
                self._unheard = True
                return
            self._unheard = False
            error = self._watch.tell(value, backend.read_pv)
            self._tell(LostReading(error, 0.0) if error else backend._make_reading(value))  # noqa: SLF001

        fields = backend.converter.value_fields + backend.converter.reading_fields
        backend.subscription = transport.context().monitor(
            backend.read_pv, hear, request=f"field({','.join(fields)})", notify_disconnect=True
        )

    def _tell(self, reading: Any) -> None:
        if self._callback is None:
            return
        try:
            self._callback(reading)
        except LinkLostError as error:
            logger.debug("a listener heard: %s", error)
