"""Scans in the words of Sardana: single exposures, and exposures at positions of a motor."""

from bluesky.utils import MsgGenerator

from danmax_bluesky.plans import classic
from danmax_bluesky.plans.bound import BoundPlans, Detectors, Exposure
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.rig import Rig


class PointPlans(BoundPlans):
    """Plans in which every active detector exposes, whatever its kind."""

    @record_call
    def ct(
        self,
        exp_time: Exposure = 1.0,
        *,
        detectors: Detectors = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Expose every active detector once: `ct(0.5)`.

        Args:
            exp_time: exposure, seconds.
            detectors: names; empty takes all active detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.

        Returns:
            the uid of the run.

        Raises:
            ScanError: the exposure is out of range, or a name is unknown.
        """
        return (yield from classic.ct(self._armed(detectors), exp_time, md=self._md(command, sample)))

    @record_call
    def ascan(
        self,
        motor: str,
        start: float,
        end: float,
        nsteps: int,
        exp_time: Exposure,
        *,
        detectors: Detectors = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Stop at nsteps + 1 positions of a motor, and expose every active detector at each.

        Args:
            motor: name of the motor.
            start: first position, in the motor's units.
            end: last position, in the motor's units.
            nsteps: intervals: n of them take n + 1 positions.
            exp_time: exposure, seconds.
            detectors: names; empty takes all active detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.

        Returns:
            the uid of the run.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, md = self._armed(detectors), self._md(command, sample)
        return (yield from classic.ascan(rig, motor, start, end, nsteps, exp_time, md=md))

    @record_call
    def dscan(
        self,
        motor: str,
        start: float,
        end: float,
        nsteps: int,
        exp_time: Exposure,
        *,
        detectors: Detectors = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Scan a motor around where it stands, as `ascan` does, and bring it back.

        Args:
            motor: name of the motor.
            start: first distance from where the motor stands, in its units.
            end: last distance from where the motor stands, in its units.
            nsteps: intervals: n of them take n + 1 positions.
            exp_time: exposure, seconds.
            detectors: names; empty takes all active detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.

        Returns:
            the uid of the run.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, md = self._armed(detectors), self._md(command, sample)
        return (yield from classic.ascan(rig, motor, start, end, nsteps, exp_time, relative=True, md=md))

    def _armed(self, detectors: tuple[str, ...]) -> Rig:
        return self._rig.with_detectors(tuple(detectors)) if detectors else self._rig
