"""Tells each detector where its latest darks and flats are, as file::dataset[first:end]."""

from collections.abc import Mapping

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.tomography.phases import LOCATIONS, Phase, frames_location


def frames_so_far(rig: Rig) -> MsgGenerator[dict[str, int]]:
    """Detector -> frames in its file."""
    counts: dict[str, int] = {}
    for detector in rig.detectors:
        counts[detector.name] = int((yield from bps.rd(detector.frames_written)))
    return counts


def publish_dark_flat_location(rig: Rig, phase: Phase, before: Mapping[str, int]) -> MsgGenerator[None]:
    """Tell the detectors, if the phase took darks or flats.

    Args:
        rig: the devices.
        phase: over.
        before: frames in each file before the phase.
    """
    signal = LOCATIONS.get(phase.kind)
    if signal is None or not rig.detectors:
        return
    after = yield from frames_so_far(rig)
    for detector in rig.detectors:
        path = yield from bps.rd(detector.file_path)
        location = frames_location(path, detector.dataset, before[detector.name], after[detector.name])
        yield from bps.abs_set(getattr(detector, signal), location, group="fields")
    yield from bps.wait(group="fields")
