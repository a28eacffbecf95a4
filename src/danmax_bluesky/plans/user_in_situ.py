"""Experiments in situ as a user calls them."""

from typing import Unpack

from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans import powder
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.in_situ import beside_program, planned_program
from danmax_bluesky.plans.parameters import CountingDetectors, Exposure, Latency, RunOptions
from danmax_bluesky.plans.tomography import readouts, slowest_readout_s
from danmax_bluesky.plans.user_diffraction import DiffractionPlans
from danmax_bluesky.tomography.phases import period_us


class InSituPlans(DiffractionPlans):
    """Plans that follow what happens to a sample."""

    @record_call
    def azint_program(
        self,
        channel: str,
        program: str,
        exp_time: Exposure,
        *,
        num: int = 0,
        latency: Latency = 0.0,
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Expose while a temperature program runs: `azint_program("furnace", "500 at 10 for 300; 300 at 20", 0.5)`.

        Frames are taken until the program is over. However the plan ends, the setpoint stays where it is then, and the
        log says where that is.

        Args:
            channel: name of the value in the settings (`environment`).
            program: target, rate in units/min, and how long it is held in seconds; steps are parted by ";".
            num: number of exposures; after fewer than the program lasts it is stopped. 0 takes as many as it lasts.

        Raises:
            ScanError: a number is out of range, a name is unknown, or the program is not understood.
            PreflightError: a setpoint or a rate is out of the limits of the settings.
        """
        rig, start_doc = self._diffraction(detectors, **run)
        powder.positive(exp_time)
        if num < 0:
            raise ScanError(f"num = {num}: give a number of exposures, or 0 for as many as the program lasts")
        _, steps = yield from planned_program(rig, channel, program)
        _, period = period_us(exp_time, latency, slowest_readout_s((yield from readouts(rig))))
        frames = num or max(1, round(steps.duration_s * 1e6 / period))
        self.tell(
            f"{channel}: from {steps.start:g} on, {program}: {steps.duration_s:.0f} s; {frames} exposures, "
            f"{frames * period / 1e6:.0f} s"
        )
        start_doc["plan_name"] = "azint_program"
        count = powder.azint_count(rig, frames, exp_time, latency, md=start_doc)
        return (yield from beside_program(rig, channel, program, count, wait=not num))
