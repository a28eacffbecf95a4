"""The world and its servers in processes of their own, so that a server can die and come back while the world goes on.

`Wire` runs beside the hub and talks to any number of servers over a socket of the file system; a `RemoteHub` is the hub
as such a server sees it. What was published before a request was done arrives before the answer to it.
"""

import itertools
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, Protocol

from danmax_bluesky.config import Settings
from danmax_bluesky.errors import DanmaxError, DeviceError
from danmax_bluesky.twin.servers.hub import Guard, Hub, PandaFacts, nobody_guards

KEY_VARIABLE = "TWIN_WIRE_KEY"
ANSWER_S = 10.0

logger = logging.getLogger(__name__)


class AnyHub(Protocol):
    """What a server needs of a hub, in its own process or in another."""

    settings: Settings
    panda_facts: PandaFacts

    def listen(self, listener: Callable[[str, str, Any], None]) -> None:
        """Tell a listener of everything that is published."""

    def get(self, device: str, register: str) -> Any:
        """The value of a register."""

    def put(self, device: str, register: str, value: Any) -> None:
        """Write a register."""

    def order(self, device: str, command: str) -> None:
        """Have a device do something."""


class Wire:
    """Lets servers in other processes take part in a hub.

    Args:
        hub: started.
    """

    def __init__(self, hub: Hub) -> None:
        self.key = secrets.token_hex(16)
        self._hub = hub
        self._listener = Listener(None, "AF_UNIX", authkey=self.key.encode())
        self._workers = ThreadPoolExecutor(8, "twin requests")
        self._closed = False
        threading.Thread(target=self._accept, name="twin wire", daemon=True).start()

    @property
    def address(self) -> str:
        """Where servers find the wire."""
        return str(self._listener.address)

    def close(self) -> None:
        """Talk to nobody any more."""
        self._closed = True
        self._listener.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError, AuthenticationError) as error:
                if not self._closed:
                    logger.warning("a server could not join the twin: %s", error)
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: "Connection[Any, Any]") -> None:
        def send(message: tuple[Any, ...]) -> None:
            try:
                connection.send(message)
            except (OSError, ValueError):
                logger.debug("a server left")

        facts = (self._hub.settings, self._hub.panda_facts)
        leave = self._hub.join(
            lambda values: send(("hello", *facts, values)),
            lambda device, register, value: send(("news", device, register, value)),
        )
        try:
            while True:
                number, verb, *arguments = connection.recv()
                self._workers.submit(self._answer, send, number, verb, arguments)
        except (EOFError, OSError):
            leave()
            connection.close()

    def _answer(self, send: Callable[[tuple[Any, ...]], None], number: int, verb: str, arguments: list[Any]) -> None:
        error = None
        try:
            {"put": self._hub.put, "order": self._hub.order}[verb](*arguments)
        except DanmaxError as refusal:
            error = str(refusal)
        except Exception as failure:
            logger.exception("%s %s", verb, arguments[:2])
            error = str(failure)
        self._hub.after_news(lambda: send(("done", number, error)))


class RemoteHub:
    """The hub as a server in another process sees it.

    Args:
        address: of the wire.
        key: of the wire.
        guard: a context in which the listeners' thread runs.
        when_lost: called when the world is gone.
    """

    def __init__(
        self, address: str, key: str, guard: Guard = nobody_guards, when_lost: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = Client(address, "AF_UNIX", authkey=key.encode())
        self._guard = guard
        self._when_lost = when_lost
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[str | None]] = {}
        self._listeners: list[Callable[[str, str, Any], None]] = []
        self._news: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        greeting, self.settings, self.panda_facts, values = self._connection.recv()
        if greeting != "hello":
            raise DeviceError(f"the twin at {address} says {greeting!r} and not hello; start both anew")
        self._values: dict[tuple[str, str], Any] = dict(values)
        for work in (self._receive, self._tell):
            threading.Thread(target=work, daemon=True).start()

    @classmethod
    def from_environment(
        cls, address: str, guard: Guard = nobody_guards, when_lost: Callable[[], None] = lambda: None
    ) -> "RemoteHub":
        """With the key that the world put into the environment.

        Raises:
            DeviceError: there is none.
        """
        key = os.environ.get(KEY_VARIABLE)
        if not key:
            raise DeviceError(f"{KEY_VARIABLE} is not set: a server of the twin is started by `danmax twin`")
        return cls(address, key, guard, when_lost)

    def listen(self, listener: Callable[[str, str, Any], None]) -> None:
        """Tell a listener of everything that is published."""
        self._listeners.append(listener)

    def get(self, device: str, register: str) -> Any:
        """The value of a register."""
        return self._values[device, register]

    def put(self, device: str, register: str, value: Any) -> None:
        """Write a register.

        Raises:
            DeviceError: the device refuses, or the world is gone.
        """
        self._ask("put", device, register, value)

    def order(self, device: str, command: str) -> None:
        """Have a device do something.

        Raises:
            DeviceError: the device refuses, or the world is gone.
        """
        self._ask("order", device, command)

    def _ask(self, verb: str, device: str, *arguments: Any) -> None:
        number = next(self._numbers)
        answer = self._waiting[number] = Future()
        try:
            with self._sending:
                self._connection.send((number, verb, device, *arguments))
            error = answer.result(ANSWER_S)
        except (OSError, TimeoutError) as lost:
            raise DeviceError(f"{device}: the twin does not answer ({type(lost).__name__})") from lost
        finally:
            del self._waiting[number]
        if error:
            raise DeviceError(error)

    def _receive(self) -> None:
        try:
            while True:
                kind, *content = self._connection.recv()
                if kind == "news":
                    device, register, value = content
                    self._values[device, register] = value
                    self._news.put((device, register, value))
                elif (future := self._waiting.get(content[0])) is not None:
                    future.set_result(content[1])
        except (EOFError, OSError):
            self._when_lost()

    def _tell(self) -> None:
        with self._guard():
            while True:
                news = self._news.get()
                for listener in self._listeners:
                    try:
                        listener(*news)
                    except Exception:
                        logger.exception("%s %s could not be told", news[0], news[1])


def environment_of(wire: Wire, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server's process."""
    return {**base, KEY_VARIABLE: wire.key}
