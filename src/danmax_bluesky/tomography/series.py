"""A vertical or mosaic series: which phases are measured at which place."""

from collections.abc import Sequence
from typing import TypeVar

from danmax_bluesky.tomography.phases import Phase
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_plan import PlannedPhase

PhaseT = TypeVar("PhaseT", Phase, PlannedPhase)

BEFORE = ("dark", "flat")
AFTER = ("flat_after", "dark_after")


def number_of_places(scan: TomoScan) -> int:
    """How many runs a scan makes: one for each place, 1 without places."""
    return len(scan.places) if scan.places else 1


def phases_of_place(phases: Sequence[PhaseT], index: int, of: int) -> tuple[PhaseT, ...]:
    """What is measured at one place: all places share the fields that the first, and after it all the last, takes.

    Args:
        phases: of a scan at a single place.
        index: of the place, from 0.
        of: number of places.
    """
    left_out = (*(BEFORE if index > 0 else ()), *(AFTER if index < of - 1 else ()))
    return tuple(phase for phase in phases if phase.name not in left_out)
