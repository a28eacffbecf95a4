"""Connects devices of a control system, knows which are missing, and notices those that are lost."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ophyd_async.core import Device, NotConnectedError

from danmax_bluesky.beamlines.beamline import Control
from danmax_bluesky.devices.disconnects import LinkLostError, format_missing_devices, regained
from danmax_bluesky.devices.pva import PvaWatch
from danmax_bluesky.errors import DeviceError

A_MOMENT_S = 30.0
NO_ADDRESS = "the settings name no address for it"
logger = logging.getLogger(__name__)


class Watch(Protocol):
    """Notices when the server of a device is lost, and when it is back.

    Attributes:
        name: of the device.
        lost: why it does not answer now; None if it does.
        last_loss: the latest time that it did not.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    lost: LinkLostError | None
    last_loss: LinkLostError | None

    async def look(self) -> None:
        """Ask it now."""
        ...

    async def revive(self) -> bool:
        """See whether it answers again; False if its device has to be connected anew."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Connections(Control):
    """The connections of a beamline's devices.

    Args:
        devices: name -> device.
        watches: of those devices whose loss is noticed at once; of the PandA its `PvaWatch`, which connects it.
        connect_timeout_s: the longest that a device may take to be found, seconds.
        look_timeout_s: the longest that a look at a device may take, seconds.
        missing: name of a device that cannot be connected -> why.
    """

    can_be_lost = True

    def __init__(
        self,
        devices: Mapping[str, Any],
        watches: Sequence[Watch] = (),
        *,
        connect_timeout_s: float = 5.0,
        look_timeout_s: float = 10.0,
        missing: Mapping[str, str] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(close)
        self.missing = dict(missing or {})
        self._without_address = frozenset(self.missing)
        self._devices = devices
        self._watches = list(watches)
        self._connect_timeout_s = connect_timeout_s
        self._look_timeout_s = look_timeout_s

    async def connect(self, again: bool = False) -> Mapping[str, str]:
        """Connect all devices side by side; or, `again`, those that are missing or were lost since.

        Returns:
            `missing` as it is then, and with it what was connected and does not answer now.
        """
        unconnected: set[str] = set(self.missing if again else self._devices)
        if again:
            answers = await asyncio.gather(*(watch.revive() for watch in self._watches))
            unconnected |= {watch.name for watch, answer in zip(self._watches, answers, strict=True) if not answer}
        wanted = {
            name: device
            for name, device in self._devices.items()
            if name in unconnected and name not in self._without_address
        }
        results = await asyncio.gather(
            *(self._connect_one(name, device, again) for name, device in wanted.items()), return_exceptions=True
        )
        for name, result in zip(wanted, results, strict=True):
            if isinstance(result, NotConnectedError | DeviceError | TimeoutError):
                self.missing[name] = " ".join(str(result).split()) or type(result).__name__
                logger.warning("%s is not connected: %s", name, self.missing[name])
            elif isinstance(result, BaseException):
                raise result
            else:
                self.missing.pop(name, None)
        return {**self.missing, **{watch.name: str(watch.lost) for watch in self._watches if watch.lost}}

    async def losses(self, since: float) -> list[LinkLostError]:
        """Ask every device that is watched; those that do not answer, or did not a moment ago.

        Args:
            since: what was noticed before that, POSIX seconds, and is over, is left out.
        """
        await asyncio.gather(*map(self._look, self._watches))
        since = max(since, time.time() - A_MOMENT_S)
        lost: list[LinkLostError] = []
        for watch in self._watches:
            if watch.lost is not None:
                lost.append(watch.lost)
            elif watch.last_loss is not None and watch.last_loss.noticed >= since:
                lost.append(regained(watch.last_loss))
        return lost

    def require(self, *names: str) -> None:
        """Refuse to go on, and let go of everything, if one of these devices is missing.

        Raises:
            DeviceError: with the reason of each.
        """
        if needed := {name: reason for name, reason in self.missing.items() if name in names}:
            self.close()
            raise DeviceError(f"nothing can be measured, as these do not answer:\n{format_missing_devices(needed)}")

    def close(self) -> None:
        """Let go of every device."""
        for watch in self._watches:
            watch.close()
        super().close()

    async def _look(self, watch: Watch) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._look_timeout_s):
                await watch.look()

    async def _connect_one(self, name: str, device: Device, again: bool) -> None:
        watch = next((watch for watch in self._watches if watch.name == name), None)
        if isinstance(watch, PvaWatch):
            await watch.connect(self._connect_timeout_s)
        else:
            await device.connect(timeout=self._connect_timeout_s, force_reconnect=again)  # pyright: ignore[reportUnknownMemberType]
