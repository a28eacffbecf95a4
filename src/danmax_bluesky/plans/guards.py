"""What keeps an eye on a phase while it is measured: pauses in the middle of it, and cameras that stop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from danmax_bluesky.errors import AcquisitionError

UNANSWERED = 4
"""Triggers without a frame from which on a camera may be called stalled: fewer may have been lost."""


class PauseGuard:
    """Ends the phase in progress when the RunEngine pauses in the middle of it: what flies is stopped at once.

    The RunEngine itself stops only what was `set`; a sweep that went on unseen, with the shutter open, is not what
    somebody wants who pauses. A sweep that was stopped cannot be resumed, so the run ends when it is.

    Attributes:
        flyers: what is to be stopped; empty once the phase is over.
        name: for messages.
    """

    name = "pause_guard"

    def __init__(self, flyers: Sequence[Any]) -> None:
        self.flyers = tuple(flyers)
        self._paused = False

    async def pause(self) -> None:
        """The RunEngine pauses."""
        for flyer in self.flyers:
            self._paused = True
            await flyer.stop(success=True)

    async def resume(self) -> None:
        """The RunEngine goes on; the phase does not."""

    def check(self, phase: str) -> None:
        """Raise AcquisitionError if the phase was paused."""
        if self._paused:
            raise AcquisitionError(
                f"{phase} was ended by a pause in the middle of it; what was measured is on disk. A pause at the "
                "end of a phase (one Ctrl-C, or RE.request_pause(defer=True)) lets a scan go on"
            )


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
