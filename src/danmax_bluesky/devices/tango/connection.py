"""The line to one Tango device: who talks to it, and when it last answered.

Everything that is asked of a device goes through its link, in the order in which it was asked, and is answered by the
device itself and not from what its server polled before. Commands that last, such as arming, go beside it. Events of an
attribute are subscribed to once, when somebody first listens, and stay so. The device is looked at twice a second: a
value of which no event told is told then, as those that are sent while a subscription is being set up are lost; and a
server that stops answering is noticed by a ping that waits for nothing else, every listener is told, and told again
when the device is back. Its server may be started again under the same address at any time. A device that takes too
long over a question while its server answers pings is busy, not lost.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import tango
from ophyd_async.core import NotConnectedError

from danmax_bluesky.devices.disconnects import LinkLostError, busy, lost
from danmax_bluesky.devices.tango.attribute_feed import Feed, Listener
from danmax_bluesky.devices.tango.failures import is_absence, is_late, reason
from danmax_bluesky.errors import DeviceError

T = TypeVar("T")
HEARTBEAT_S = 0.4
RETRY_S = 1.1  # Tango does not try to connect more often than once a second
REVIVALS = 3
TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 60.0
ORDERS = 2  # at a time: who arms may think better of it

logger = logging.getLogger(__name__)


class Link:
    """The line to one device.

    Args:
        address: such as "tango://host:port/domain/family/member#dbase=no", or a name that a Tango database knows.
        name: of our device, for messages.
        timeout_s: the longest that one question may take.
        command_timeout_s: the longest that one command that lasts may take.
    """

    def __init__(
        self,
        address: str,
        name: str = "",
        timeout_s: float = TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        self.address = address
        self.name = name or address
        self.last_answer: float | None = None
        self.lost: LinkLostError | None = None
        self.last_loss: LinkLostError | None = None
        self._timeout_s = timeout_s
        self._command_timeout_s = command_timeout_s
        self._proxy: tango.DeviceProxy | None = None
        self._patient: tango.DeviceProxy | None = None  # for commands
        self._feeds: dict[str, Feed] = {}
        self._heartbeat: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._loss: asyncio.Future[None] | None = None  # done when the device is lost
        self._ordered = 0
        self._thread, self._pulse, self._orders = (
            ThreadPoolExecutor(workers, f"tango {what} {self.name}", initializer=_let_tango_know_this_thread)
            for workers, what in ((1, "to"), (1, "pulse of"), (ORDERS, "order to"))
        )

    def address_of(self, name: str) -> str:
        """Address of an attribute or a command of the device."""
        device, mark, fragment = self.address.partition("#")
        return f"{device}/{name}{mark}{fragment}"

    async def connect(self, timeout_s: float, again: bool = False) -> None:
        """Find the device.

        Raises:
            NotConnectedError: it does not answer.
        """
        if self._proxy is not None and not again:
            return
        try:
            async with asyncio.timeout(timeout_s):
                self._proxy = await self._in_thread(self._find)
        except (tango.DevFailed, TimeoutError) as error:
            raise NotConnectedError(f"{self.address}: {reason(error)}") from error
        self._answered()
        self._watch()

    async def ask(self, question: Callable[[tango.DeviceProxy], T], what: str) -> T:
        """What the device says to a question; one that is known to be lost is not asked until a heartbeat finds it.

        Args:
            question: called in the link's thread with the proxy.
            what: the question in words, for messages: "position", "arm".

        Raises:
            LinkLostError: the device does not answer.
            DeviceError: it refuses.
        """
        proxy = self._connected()
        return await self._ask(proxy, lambda: question(proxy), what)

    async def order(self, command: str) -> None:
        """Have the device carry out a command that lasts, one without argument.

        Raises:
            LinkLostError: the device does not answer.
            DeviceError: it refuses.
        """
        proxy = self._connected()
        self._ordered += 1
        try:
            await self._ask(proxy, lambda: self._patiently(command), command, self._orders)
        finally:
            self._ordered -= 1

    def _connected(self) -> tango.DeviceProxy:
        if self._proxy is None:
            raise DeviceError(
                f"{self.name}: {self.address} is not connected; see that its server runs, then reconnect"
                if self.address
                else f"{self.name}: the settings name no address for it; give it one, or leave it out"
            )
        if self.lost is not None:
            raise LinkLostError(str(self.lost))
        return self._proxy

    async def _ask(
        self, proxy: tango.DeviceProxy, work: Callable[[], T], what: str, thread: ThreadPoolExecutor | None = None
    ) -> T:
        loop = asyncio.get_running_loop()
        self._loss = loss = self._loss or loop.create_future()
        asked = loop.run_in_executor(thread or self._thread, work)
        try:
            await asyncio.wait((asked, loss), return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                raise LinkLostError(str(self.lost))
            answer = asked.result()
        except tango.DevFailed as error:
            if is_late(error):
                await self._ping(proxy)
                if self.lost is None:
                    raise busy(self.name, self.address, self.last_answer, f"{what}: {reason(error)}") from error
                raise LinkLostError(str(self.lost)) from error
            if is_absence(error):
                raise self._lose(error) from error
            self._answered()
            raise DeviceError(f"{self.name}: {what}: {reason(error)}") from error
        finally:
            asked.cancel()
        self._answered()
        return answer

    async def _ping(self, proxy: tango.DeviceProxy) -> None:
        """See whether the server answers; who asks that while somebody else does has the same answer."""
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.create_task(self._pinged(proxy))
        await asyncio.shield(self._pinging)

    async def _pinged(self, proxy: tango.DeviceProxy) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._pulse, lambda: proxy.ping())
        except tango.DevFailed as error:
            if is_absence(error):
                self._lose(error)
                return
        self._answered()

    def listen(self, attribute: str, listener: Listener) -> None:
        """Begin to tell a listener the readings of an attribute."""
        if attribute not in self._feeds:
            self._feeds[attribute] = Feed(self, attribute)
        self._feeds[attribute].add(listener)

    def ignore(self, attribute: str, listener: Listener) -> None:
        """Tell a listener no more."""
        self._feeds[attribute].remove(listener)

    def run_soon(self, work: Callable[[tango.DeviceProxy], None]) -> None:
        """Do something with the proxy in the link's thread; what goes wrong is only logged."""
        proxy = self._proxy
        if proxy is not None:
            self._thread.submit(_quietly, work, proxy)

    async def revive(self) -> bool:
        """See now whether a lost device answers again, and return when its listeners were told.

        Returns:
            True: nothing has to be connected anew, as the listeners stay subscribed.
        """
        for _ in range(REVIVALS):
            if self.lost is None:
                break
            await asyncio.sleep(RETRY_S)
            await self.look()
        await self._in_thread(lambda: None)  # the subscriptions were begun before that
        await asyncio.sleep(0)
        return True

    async def look(self) -> None:
        """See whether the device answers, and tell what no event told."""
        proxy = self._proxy
        if proxy is None:
            return
        await self._ping(proxy)
        if self.lost is None:
            await self._hear_the_silent(proxy)

    async def _hear_the_silent(self, proxy: tango.DeviceProxy) -> None:
        silent = [feed for feed in self._feeds.values() if feed.count_silence()]
        if not silent:
            return
        names = [feed.name for feed in silent]
        try:
            answers: Any = await self._ask(proxy, lambda: proxy.read_attributes(names), ", ".join(names))
        except DeviceError as error:  # a loss was told to everybody already
            logger.debug("%s", error)
            return
        for feed, answer in zip(silent, answers, strict=True):
            feed.look_at(answer)
            if not feed.is_subscribed:  # a server that is busy may have refused
                self.run_soon(feed.begin)

    def close(self) -> None:
        """End the subscriptions and the link's thread."""
        for task in (self._heartbeat, self._pinging, self._reading):
            if task is not None:
                task.cancel()
        self._heartbeat = None
        for feed in self._feeds.values():
            self.run_soon(feed.end)
        self._feeds.clear()
        for thread in (self._thread, self._pulse, self._orders):
            thread.shutdown(wait=False)

    def _find(self) -> tango.DeviceProxy:
        proxy = self._made(self._timeout_s)
        proxy.set_source(tango.DevSource.DEV)
        proxy.ping()
        return proxy

    def _made(self, timeout_s: float) -> tango.DeviceProxy:
        proxy = tango.DeviceProxy(self.address)
        proxy.set_timeout_millis(round(timeout_s * 1000))
        return proxy

    def _patiently(self, command: str) -> None:
        if self._patient is None:
            self._patient = self._made(self._command_timeout_s)
        self._patient.command_inout(command)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _answered(self) -> None:
        self.last_answer = time.time()
        if self.lost is not None:
            logger.warning("%s: %s answers again", self.name, self.address)
            self.lost = self._loss = self._patient = None
            for feed in self._feeds.values():
                self.run_soon(feed.begin)

    def _lose(self, error: tango.DevFailed) -> LinkLostError:
        if self.lost is None:
            self.lost = self.last_loss = lost(self.name, self.address, self.last_answer, reason(error))
            logger.warning("%s", self.lost)
            if self._loss is not None and not self._loss.done():
                self._loss.set_result(None)
            for feed in self._feeds.values():
                feed.lose(self.lost)
        return self.lost

    def _watch(self) -> None:
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S if self.lost else HEARTBEAT_S)
            proxy = self._proxy
            if proxy is None:
                continue
            await self._watched(self._ping(proxy))
            heard = self._reading is None or self._reading.done()
            if self.lost is None and heard and not self._ordered:  # one that carries out a command may not answer
                self._reading = asyncio.create_task(self._watched(self._hear_the_silent(proxy)))

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:  # of somebody who listens; the device is watched all the same
            logger.exception("%s: %s", self.name, self.address)


_known_threads = threading.local()


def _let_tango_know_this_thread() -> None:
    _known_threads.guard = tango.EnsureOmniThread()
    _known_threads.guard.__enter__()


def _quietly(work: Callable[[tango.DeviceProxy], None], proxy: tango.DeviceProxy) -> None:
    try:
        work(proxy)
    except tango.DevFailed as error:
        logger.debug("%s: %s", proxy.name(), reason(error))
