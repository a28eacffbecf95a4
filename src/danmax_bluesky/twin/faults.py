"""What can be made to go wrong on the twin, at any moment: `beamline.twin.faults`.

Triggers are counted from 0 since the camera was armed for its present file, over all segments.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class CameraFaults:
    """Faults of one camera.

    Attributes:
        lost: triggers whose frame is never written.
        stalled_after: number of triggers after which the camera answers no more, or None.
        late_s: seconds by which its server tells everything late.
    """

    lost: set[int] = field(default_factory=set)
    stalled_after: int | None = None
    late_s: float = 0.0

    def hits(self, triggers: np.ndarray) -> np.ndarray:
        """Which of these triggers get no frame, bool."""
        hit = np.isin(triggers, list(self.lost)) if self.lost else np.zeros(len(triggers), bool)
        return hit if self.stalled_after is None else hit | (triggers >= self.stalled_after)


class Faults:
    """Every fault of the twin; none at first.

    Args:
        cameras: names of the cameras.
        shift_encoder: adds counts to the rotation's register, given the angle at which it shall wrap, or None to undo.
        set_beam: sets the ring current to a fraction of its nominal value.
        stall_at: lets a motor stop dead where its next move passes a position, or, with None, forget that.
    """

    def __init__(
        self,
        cameras: list[str],
        shift_encoder: Callable[[float | None], None],
        set_beam: Callable[[float], None],
        stall_at: Callable[[str, float | None], None],
    ) -> None:
        self._cameras = {name: CameraFaults() for name in cameras}
        self._shift_encoder = shift_encoder
        self._set_beam = set_beam
        self._stall_at = stall_at
        self._stalling: set[str] = set()
        self.beam_lost: list[tuple[int, int]] = []

    def camera(self, name: str) -> CameraFaults:
        """The faults of one camera, to look at or to change."""
        return self._cameras[name]

    def lose_frames(self, camera: str, *triggers: int) -> None:
        """Write no frame for these triggers."""
        self._cameras[camera].lost.update(triggers)

    def stall(self, camera: str, after: int) -> None:
        """Let the camera answer no more after so many triggers."""
        self._cameras[camera].stalled_after = after

    def stall_motor(self, motor: str, at: float) -> None:
        """Let the motor stop dead at a position, in its units, when a move passes it next; moves after that are sound.

        A motor that passes the position in the moment in which this is called is not stopped.
        """
        self._stalling.add(motor)
        self._stall_at(motor, at)

    def answer_late(self, camera: str, seconds: float) -> None:
        """Let everything that the camera's server tells come late."""
        self._cameras[camera].late_s = seconds

    def dump_beam(self) -> None:
        """Lose the beam, now, until `restore_beam`."""
        self._set_beam(0.0)

    def restore_beam(self) -> None:
        """Let the beam come back, now."""
        self._set_beam(1.0)

    def dump_beam_between(self, first: int, last: int) -> None:
        """No beam for the triggers `first` to `last` (both included) of every camera."""
        self.beam_lost.append((first, last))

    def wrap_encoder_at(self, angle_deg: float) -> None:
        """Shift the rotation's register so that it wraps where the axis stands at `angle_deg`.

        The offset of the encoder's calibration shifts with it: angle = counts / counts_per_deg + offset_deg then holds
        with `world.offset_deg`.
        """
        self._shift_encoder(angle_deg)

    def beam(self, triggers: np.ndarray) -> np.ndarray:
        """1 or 0 for each trigger, as `dump_beam_between` wants it."""
        beam = np.ones(len(triggers))
        for first, last in self.beam_lost:
            beam[(triggers >= first) & (triggers <= last)] = 0.0
        return beam

    def clear(self) -> None:
        """Repair everything."""
        for name in self._cameras:
            self._cameras[name] = CameraFaults()
        self.beam_lost.clear()
        for motor in self._stalling:
            self._stall_at(motor, None)
        self._shift_encoder(None)
        self._set_beam(1.0)
