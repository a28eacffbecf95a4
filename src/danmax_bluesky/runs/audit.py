"""Three counts of one phase compared: triggers planned, triggers sent, frames written.

A camera that carries a hardware counter with each frame tells which trigger the frame answers, also after a loss. One
that does not tells only how many frames are missing; which ones is then uncertain, and said to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PhaseAudit:
    """What became of the triggers of one phase at one detector.

    Attributes:
        name: of the phase.
        planned: triggers planned.
        sent: triggers that the PandA sent, or None if it was not asked.
        written: frames on disk.
        lost: indices within the phase of the triggers SENT without a frame, if the camera counts.
        extra: rows on disk that belong to no trigger of this phase, or repeat one.
        uncertain: True if it cannot be said which frame answers which trigger.
        trigger_index: for each row on disk the index of its trigger within the phase, -1 for extra rows.
        message: the findings in a sentence, "" if planned, sent and written agree frame by frame.
    """

    name: str
    planned: int
    sent: int | None
    written: int
    lost: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()
    uncertain: bool = False
    trigger_index: tuple[int, ...] = ()
    message: str = ""

    @property
    def is_complete(self) -> bool:
        """True if every planned trigger was sent and answered by one frame."""
        return not self.message


def audit_phase(
    name: str,
    planned: int,
    *,
    sent: int | None = None,
    written: int,
    frame_numbers: Sequence[int] | np.ndarray | None = None,
    first_number: int = 0,
    detector: str = "",
) -> PhaseAudit:
    """Compare the three counts of one phase.

    Args:
        name: of the phase.
        planned: triggers planned.
        sent: rows that the PandA captured, None if unknown.
        written: frames on disk.
        frame_numbers: hardware counter of each frame on disk, 0 at the first trigger since arming, shape (written,);
            None if the camera has none.
        first_number: counter of the first trigger of this phase.
        detector: named in the message.
    """
    triggers = planned if sent is None else sent
    who = detector or "the detector"
    parts: list[str] = []
    if sent is not None and sent != planned:
        parts.append(f"the PandA sent {sent} of {planned} triggers")
    if frame_numbers is None:
        uncertain = written != triggers
        if uncertain:
            parts.append(
                f"{who} wrote {written} frames for {triggers} triggers and counts none of them: "
                "which frame belongs to which trigger, and so its angle, is uncertain"
            )
        index = tuple(range(min(written, triggers))) + (-1,) * max(0, written - triggers)
        extra = tuple(range(triggers, written))
        return PhaseAudit(name, planned, sent, written, (), extra, uncertain, index, _sentence(name, parts))
    local = np.asarray(frame_numbers, np.int64) - first_number
    inside = (local >= 0) & (local < triggers)
    first_rows = np.zeros(len(local), bool)
    candidates = np.flatnonzero(inside)
    first_rows[candidates[np.unique(local[candidates], return_index=True)[1]]] = True
    index = np.where(first_rows, local, -1)
    present = np.zeros(triggers, bool)
    present[index[index >= 0]] = True
    lost = tuple(np.flatnonzero(~present).tolist())
    extra = tuple(np.flatnonzero(index < 0).tolist())
    if lost:
        parts.append(f"{who} lost {len(lost)} of {triggers} frames: {_ranges(lost)}")
    if extra:
        parts.append(f"{who} wrote {len(extra)} frames that no trigger of this phase asked for: rows {_ranges(extra)}")
    uncertain = len(local) != written
    if uncertain:
        parts.append(f"{who} has {len(local)} frame numbers for {written} frames")
        index = np.append(index, np.full(max(0, written - len(local)), -1))[:written]
    return PhaseAudit(
        name, planned, sent, written, lost, extra, uncertain, tuple(index.tolist()), _sentence(name, parts)
    )


def _sentence(name: str, parts: Sequence[str]) -> str:
    return f"{name}: {'; '.join(parts)}" if parts else ""


def _ranges(indices: Sequence[int], most: int = 8) -> str:
    """Indices in short: "0, 7-9"."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:most]]
    return ", ".join(shown) + (", ..." if len(runs) > most else "")
