"""The readings of one attribute of a Tango device, for everybody who listens to it.

The events of an attribute are subscribed to once, when somebody first listens, and stay so. An attribute whose server
sends no events is polled.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import tango

from danmax_bluesky.devices.disconnects import LinkLostError
from danmax_bluesky.devices.tango.failures import is_absence, reason
from danmax_bluesky.errors import DeviceError

if TYPE_CHECKING:
    from danmax_bluesky.devices.tango.connection import Link

POLL_S = 0.1

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told the readings of an attribute, always in the event loop."""

    def hear(self, answer: Any) -> None:
        """A reading came: an object with value, time and quality."""

    def lose(self, error: LinkLostError) -> None:
        """The device does not answer."""


class Feed:
    """The readings of one attribute, by events, or by polling where the server sends none.

    Args:
        link: to the device.
        name: of the attribute.
    """

    def __init__(self, link: "Link", name: str) -> None:
        self.name = name
        self.listeners: list[Listener] = []
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._event: int | None = None
        self._is_polled = False
        self._poll: asyncio.Task[None] | None = None
        self._heard = 0
        self._heard_before = 0

    @property
    def is_subscribed(self) -> bool:
        """True if readings come by themselves."""
        return self._event is not None or self._is_polled

    def count_silence(self) -> bool:
        """True if somebody listens and no event came since this was asked before."""
        heard, self._heard_before = self._heard_before, self._heard
        return bool(self.listeners) and not self._is_polled and heard == self._heard

    def look_at(self, answer: Any) -> None:
        """Tell what was read, unless an event came meanwhile."""
        if self._heard == self._heard_before and not answer.has_failed:
            self._tell(answer)

    def add(self, listener: Listener) -> None:
        """Begin to tell a listener, first what is so now: that may be that the device is lost already."""
        self.listeners.append(listener)
        if self._link.lost is not None:
            self._loop.call_soon(listener.lose, self._link.lost)
        if not self.is_subscribed:
            self._link.run_soon(self.begin)
        else:
            self._link.run_soon(lambda proxy: self._in_loop(self._tell, proxy.read_attribute(self.name)))
            self._poll_if_needed()

    def remove(self, listener: Listener) -> None:
        """Tell a listener no more."""
        self.listeners.remove(listener)
        if not self.listeners and self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def begin(self, proxy: tango.DeviceProxy) -> None:
        """Subscribe, after ending what an earlier life of the server left; in the link's thread."""
        self.end(proxy)
        try:
            self._event = proxy.subscribe_event(self.name, tango.EventType.CHANGE_EVENT, self._on_event)
        except tango.DevFailed as error:
            if is_absence(error):
                raise
            logger.debug("%s/%s is polled: %s", self._link.address, self.name, reason(error))
            self._is_polled = True
            self._in_loop(self._poll_if_needed)

    def end(self, proxy: tango.DeviceProxy) -> None:
        """Subscribe no more; in the link's thread."""
        if self._event is not None:
            number, self._event = self._event, None
            try:
                proxy.unsubscribe_event(number)
            except (tango.DevFailed, KeyError) as error:
                logger.debug("%s: %s", self.name, error)

    def lose(self, error: LinkLostError) -> None:
        """Tell that there is no reading."""
        for listener in list(self.listeners):
            listener.lose(error)

    def _on_event(self, event: Any) -> None:
        """Called in a thread of Tango's."""
        if not event.err:
            self._heard += 1
            self._in_loop(self._tell, event.attr_value)

    def _in_loop(self, work: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, *arguments)

    def _tell(self, answer: Any) -> None:
        if self._link.lost is None:
            for listener in list(self.listeners):
                listener.hear(answer)

    def _poll_if_needed(self) -> None:
        if self._is_polled and self._poll is None and self.listeners:
            self._poll = self._loop.create_task(self._keep_polling())

    async def _keep_polling(self) -> None:
        while True:
            try:
                answer: Any = await self._link.ask(lambda proxy: proxy.read_attribute(self.name), self.name)
                self._tell(answer)
            except DeviceError as error:
                logger.debug("%s", error)
            await asyncio.sleep(POLL_S)
