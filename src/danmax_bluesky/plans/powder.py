"""Diffraction: exposures of a detector whose frames are integrated while they are measured."""

from collections.abc import Mapping
from typing import Any

from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.tomography import measure_phases, readouts, slowest_readout_s
from danmax_bluesky.tomography.phases import Phase, period_us


def azint_count(
    rig: Rig, num: int, exposure_s: float, latency_s: float = 0.0, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[str]:
    """N exposures with the sample at rest, timed by the PandA, in the stream `primary`.

    Args:
        rig: the devices; its detectors are armed.
        num: number of exposures, at least 1.
        exposure_s: seconds, more than 0.
        latency_s: dead time asked for between two exposures, seconds; never less than what the detector needs.
        md: for the start document.

    Raises:
        ScanError: a number is out of range.
    """
    if num < 1:
        raise ScanError(f"num = {num}: at least 1 exposure is needed")
    if not exposure_s > 0:
        raise ScanError(f"exp_time = {exposure_s} s: an exposure takes time; give more than 0 s")
    if latency_s < 0:
        raise ScanError(f"latency = {latency_s} s: give 0 s or more")
    exposure, period = period_us(exposure_s, latency_s, slowest_readout_s((yield from readouts(rig))))
    phase = Phase("primary", "data", num, exposure * 1e-6, period * 1e-6)
    return (yield from measure_phases(rig, (phase,), md={"plan_name": "azint_count", **(md or {})}))
