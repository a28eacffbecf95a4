"""The world in a thread of its own, and its registers for servers that live in other threads.

A register is named by its device and its name, as ("tom_ry", "readback") or ("panda", "seq1.enable"). What the world
publishes is told to listeners in one thread, in order, and never in the world's own: a listener may wait for a lock of
somebody who waits for the world.
"""

import asyncio
import contextlib
import functools
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from danmax_bluesky.config import Settings
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.axis import Axis
from danmax_bluesky.twin.camera import MakeProcess, VirtualCamera
from danmax_bluesky.twin.camera_client import CameraProcess
from danmax_bluesky.twin.clock import RealClock
from danmax_bluesky.twin.panda import SEQUENCERS
from danmax_bluesky.twin.world import World

PANDA = "panda"
SHUTTER = "fast_shutter"
RING = "ring_current"
MONITOR = "beam_monitor"
START_S = 150.0
ANSWER_S = 2.5

Key = tuple[str, str]
Listener = Callable[[str, str, Any], None]
Guard = Callable[[], contextlib.AbstractContextManager[Any]]
nobody_guards: Guard = contextlib.nullcontext

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PandaFacts:
    """What a server of the PandA has to know beside its registers.

    Attributes:
        datasets: names of what it captures.
        buses: position bus of each sequencer at first, by the name of the sequencer.
    """

    datasets: tuple[str, ...]
    buses: Mapping[str, str]


class Hub:
    """The world behind servers.

    Args:
        settings: of the session; the clock is the one on the wall whatever they say, as clients live by it.
        make_process: makes the process of a simulated camera.
        guard: a context in which the listeners' thread runs.
    """

    def __init__(
        self, settings: Settings, make_process: MakeProcess = CameraProcess, guard: Guard = nobody_guards
    ) -> None:
        self.settings = settings
        self._make_process = make_process
        self._guard = guard
        self._loop = asyncio.new_event_loop()
        self._values: dict[Key, Any] = {}
        self._sent: dict[Key, Any] = {}
        self._listeners: list[Listener] = []
        self._news: queue.SimpleQueue[tuple[str, str, Any] | Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run_loop, name="twin world", daemon=True),
            threading.Thread(target=self._tell, name="twin news", daemon=True),
        ]
        self.world: World | None = None

    def start(self) -> None:
        """Make the world, and wait until its cameras are ready.

        Raises:
            DeviceError: a camera cannot be started.
        """
        for thread in self._threads:
            thread.start()
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(START_S)

    def close(self) -> None:
        """End the world and its processes; a second time does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(START_S)
        self._news.put(None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(START_S)
        self._loop.close()

    def listen(self, listener: Listener) -> None:
        """Tell `listener(device, register, value)` of everything that is published from now on."""
        self._listeners.append(listener)

    def join(self, greet: Callable[[dict[Key, Any]], None], listener: Listener) -> Callable[[], None]:
        """Greet somebody with every value, then tell the listener of everything that is published after that.

        Returns:
            what ends it.
        """

        def begin() -> None:
            greet(dict(self._sent))
            self._listeners.append(listener)

        self.after_news(begin)
        return lambda: self.after_news(lambda: self._listeners.remove(listener))

    def after_news(self, work: Callable[[], None]) -> None:
        """Do something in the listeners' thread, after everything that was published until now was told."""
        self._news.put(work)

    @property
    def panda_facts(self) -> PandaFacts:
        """What a server of the PandA has to know beside its registers."""
        virtual = self._made_world.panda
        return PandaFacts(tuple(virtual.datasets), {name: virtual.registers[f"{name}.posa"] for name in SEQUENCERS})

    def get(self, device: str, register: str) -> Any:
        """The value of a register now."""
        return self._values[device, register]

    def put(self, device: str, register: str, value: Any) -> None:
        """Write a register, and return when the world has taken it.

        Raises:
            DeviceError: the world does not answer.
        """
        self._in_world(self._put(device, register, value), f"{device} {register}")

    def order(self, device: str, command: str) -> None:
        """Have a device "stop", "arm" or "disarm".

        Returns when that is done, or after 2.5 s while it goes on: the registers then tell.

        Raises:
            DeviceError: the device refuses.
        """
        self._in_world(self._order(device, command), f"{device} {command}")

    def registers(self, device: str) -> dict[str, Any]:
        """Every register of a device with its value now."""
        return {register: value for (owner, register), value in self._values.items() if owner == device}

    async def _begin(self) -> None:
        world = self.world = World(self.settings, RealClock())
        for name, axis in world.axes.items():
            axis.publish = self._publisher(name)
            self._take(name, _motor(axis))
        for name, camera in world.cameras.items():
            camera.publish = self._publisher(name)
            self._take(name, _camera(camera))
        world.panda.publish = self._publisher(PANDA)
        world.shutter.publish = self._publisher(SHUTTER)
        self._take(SHUTTER, {"state": "closed", "setpoint": "closed"})
        world.monitor.publish = self._publisher(MONITOR)
        self._take(MONITOR, {"intensity": 0.0})
        world.ring.publish = self._publisher(RING)
        world.ring.set_beam(1.0)
        try:
            await world.start(self._make_process)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _end(self) -> None:
        if self.world is not None:
            self.world.close()

    async def _put(self, device: str, register: str, value: Any) -> None:
        world = self._made_world
        self._values[device, register] = value
        target: Any = {PANDA: world.panda, SHUTTER: world.shutter, **world.axes, **world.cameras}[device]
        if device not in world.cameras or register in world.cameras[device].registers:
            target.put(register, value)
        self._news.put((device, register, value))

    async def _order(self, device: str, command: str) -> None:
        world = self._made_world
        if device in world.axes and command == "stop":
            world.axes[device].stop()
        elif device in world.cameras and command == "arm":
            await world.cameras[device].arm()
        elif device in world.cameras and command == "disarm":
            await world.cameras[device].disarm()
        else:
            raise DeviceError(f"{device}: cannot {command}")

    @property
    def _made_world(self) -> World:
        if self.world is None:
            raise DeviceError("the twin was not started")
        return self.world

    def _in_world(self, work: Any, what: str) -> None:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(ANSWER_S)
        except TimeoutError:
            future.add_done_callback(_complain)
            logger.info("%s goes on", what)

    def _publisher(self, device: str) -> Callable[[str, Any], None]:
        def publish(register: str, value: Any) -> None:
            self._take(device, {register: value})

        return publish

    def _take(self, device: str, values: Mapping[str, Any]) -> None:
        for register, value in values.items():
            self._values[device, register] = value
            self._news.put((device, register, value))

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _tell(self) -> None:
        with self._guard():
            while (news := self._news.get()) is not None:
                if callable(news):
                    _safely(news, "a listener")
                    continue
                device, register, value = news
                self._sent[device, register] = value
                for listener in tuple(self._listeners):
                    _safely(functools.partial(listener, device, register, value), f"{device} {register}")


def _safely(work: Callable[[], None], what: str) -> None:
    try:
        work()
    except Exception:
        logger.exception("%s could not be told", what)


def _motor(axis: Axis) -> dict[str, Any]:
    settings = axis.settings
    return {
        "readback": settings.position,
        "setpoint": settings.position,
        "velocity": settings.velocity,
        "acceleration_time": settings.acceleration_time,
        "moving": False,
    }


def _camera(camera: VirtualCamera) -> dict[str, Any]:
    settings = camera.settings
    return {
        **camera.registers,
        "readout_time": settings.readout_s,
        "width": settings.width,
        "height": settings.height,
        "dtype": "uint16" if settings.kind == "imaging" else "int32",
        "label": "",
        "dark_file": "",
        "white_file": "",
        "armed": False,
        "problem": "",
        "frames_written": 0,
        "frames_triggered": 0,
    }


def _complain(future: Any) -> None:
    if not future.cancelled() and (error := future.exception()):
        logger.error("%s", error)
