"""What keeps an eye on a phase while it is measured: pauses in the middle of it, and cameras that stop."""

from dataclasses import dataclass
from typing import Any, TypeVar

import bluesky.preprocessors as bpp
from bluesky.utils import Msg, MsgGenerator

from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.errors import AcquisitionError

T = TypeVar("T")
UNANSWERED = 4
"""Triggers without a frame from which on a camera may be called stalled: fewer may have been lost."""


class PauseGuard:
    """Ends what is exposed now when the RunEngine pauses in the middle of it: no beam, and nothing flies on.

    The RunEngine itself stops only what was `set`. A sweep that was stopped, or an exposure that was broken off, cannot
    be resumed: the run ends when it is, and the shutter stays closed.

    Args:
        shutter: is closed.

    Attributes:
        flyers: are stopped.
        paused: something was broken off.
        over: set it once no pause can break anything off any more.
        resumable: set it while nothing is exposed and nothing flies: a pause then closes the shutter, and breaks
            nothing off.
        shut: such a pause closed the shutter; whoever goes on opens it, and clears this.
        name: for messages.
    """

    name = "pause_guard"

    def __init__(self, shutter: Shutter) -> None:
        self.flyers: tuple[Any, ...] = ()
        self.paused = self.over = self.resumable = self.shut = False
        self._shutter = shutter

    async def pause(self) -> None:
        """The RunEngine pauses."""
        if self.over:
            return
        self.paused = not self.resumable
        self.shut = self.resumable
        await self._shutter.shut()
        for flyer in self.flyers:
            await flyer.stop(success=True)

    async def resume(self) -> None:
        """The RunEngine goes on; the phase does not."""

    def check(self, what: str) -> None:
        """Raise AcquisitionError, once, if there was a pause."""
        if self.paused:
            self.paused = False
            raise AcquisitionError(
                f"{what} was ended by a pause in the middle of it; what was measured is on disk. A pause at the "
                "end of a phase or point (one Ctrl-C, or RE.request_pause(defer=True)) lets a scan go on"
            )


def unbroken(shutter: Shutter, plan: MsgGenerator[T], what: str) -> MsgGenerator[T]:
    """A plan that exposes and cannot be replayed: once it goes on after a pause it ends with AcquisitionError.

    Args:
        shutter: is closed by a pause, and stays so.
        plan: is told of the error, and may clean up.
        what: is measured.
    """
    guard = PauseGuard(shutter)

    def end() -> MsgGenerator[None]:
        guard.check(what)
        yield Msg("null")

    def whole() -> MsgGenerator[T]:
        yield Msg("null", guard)  # so that the RunEngine knows whom to tell of a pause
        try:
            result: Any = yield from bpp.plan_mutator(plan, lambda _: (end() if guard.paused else None, None))
            guard.check(what)
            return result
        finally:
            guard.over = True

    result: Any = yield from bpp.rewindable_wrapper(whole(), False)
    return result


@dataclass(frozen=True)
class Quietly:
    """Stops a flyer without making its flight fail: the error that ended the phase is to stay the one that is seen."""

    flyer: Any

    @property
    def name(self) -> str:
        """Name of the flyer."""
        return self.flyer.name

    async def stop(self, success: bool = True) -> None:
        """Stop the flyer."""
        await self.flyer.stop(success=success)


class StallWatch:
    """Notices a camera that stopped while triggers go on.

    Args:
        patience_s: how long a camera may write nothing after a trigger that it has not answered was seen.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._counts: dict[str, tuple[int, int]] = {}
        self._overdue_since_s: dict[str, float] = {}

    def look(self, camera: str, sent: int, written: int, now_s: float) -> None:
        """Compare the counts of this moment with those of the last look at which the camera had written more.

        Raises:
            AcquisitionError: it wrote nothing for too long, and triggers were sent meanwhile.
        """
        sent_then, written_then = self._counts.get(camera, (sent, -1))
        if written != written_then:
            self._counts[camera] = (sent, written)
            self._overdue_since_s.pop(camera, None)
            return
        if sent == sent_then:
            return
        waited_s = now_s - self._overdue_since_s.setdefault(camera, now_s)
        if waited_s > self._patience_s and sent - sent_then >= UNANSWERED:
            raise AcquisitionError(
                f"{camera} stalled: {written} frames, and none for {waited_s:.1f} s while the PandA went from "
                f"{sent_then} to {sent} triggers; look at the camera's server. What was measured is on disk"
            )
