"""Scans in the words of Sardana: single exposures, and exposures at positions of a motor."""

from bluesky.utils import MsgGenerator

from danmax_bluesky.plans import classic
from danmax_bluesky.plans.bound import BoundPlans, Detectors, Exposure, Metadata
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.powder import PerStep
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
        md: Metadata = None,
    ) -> MsgGenerator[str]:
        """Expose every active detector once: `ct(0.5)`.

        Args:
            exp_time: exposure, seconds.
            detectors: names, or devices of your own that are read at every point; empty takes all active detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.
            md: what else the start document says, beside `RE.md`.

        Returns:
            the uid of the run.

        Raises:
            ScanError: the exposure is out of range, or a name is unknown.
        """
        return (yield from classic.ct(self._armed(detectors), exp_time, md=self._md(command, sample, md)))

    @record_call
    def ascan(
        self,
        motor: str,
        start: float,
        end: float,
        nsteps: int,
        exp_time: Exposure,
        *,
        per_step: PerStep | None = None,
        detectors: Detectors = (),
        sample: str | None = None,
        command: str | None = None,
        md: Metadata = None,
    ) -> MsgGenerator[str]:
        """Stop at nsteps + 1 positions of a motor, and expose every active detector at each.

        Args:
            motor: name of the motor, or a device of your own that is set to a number and read.
            start: first position, in the motor's units.
            end: last position, in the motor's units.
            nsteps: intervals: n of them take n + 1 positions.
            exp_time: exposure, seconds.
            per_step: plan of each point in the place of moving, exposing and reading: it does this by itself, into the
                stream `primary`, as Bluesky's `one_nd_step` does. What else it reads goes into streams of other names.
            detectors: names, or devices of your own that are read at every point; empty takes all active detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.
            md: what else the start document says, beside `RE.md`.

        Returns:
            the uid of the run.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, md = self._armed(detectors), self._md(command, sample, md)
        return (yield from classic.ascan(rig, motor, start, end, nsteps, exp_time, per_step=per_step, md=md))

    @record_call
    def dscan(
        self,
        motor: str,
        start: float,
        end: float,
        nsteps: int,
        exp_time: Exposure,
        *,
        per_step: PerStep | None = None,
        detectors: Detectors = (),
        sample: str | None = None,
        command: str | None = None,
        md: Metadata = None,
    ) -> MsgGenerator[str]:
        """Scan a motor around where it stands, as `ascan` does, and bring it back.

        Args:
            motor: name of the motor, or a device of your own that is set to a number and read.
            start: first distance from where the motor stands, in its units.
            end: last distance from where the motor stands, in its units.
            nsteps: intervals: n of them take n + 1 positions.
            exp_time: exposure, seconds.
            per_step: plan of each point in the place of moving, exposing and reading: it does this by itself, into the
                stream `primary`, as Bluesky's `one_nd_step` does. What else it reads goes into streams of other names.
            detectors: names, or devices of your own that are read at every point; empty takes all active detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.
            md: what else the start document says, beside `RE.md`.

        Returns:
            the uid of the run.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, md = self._armed(detectors), self._md(command, sample, md)
        return (
            yield from classic.ascan(rig, motor, start, end, nsteps, exp_time, relative=True, per_step=per_step, md=md)
        )

    def _armed(self, detectors: tuple[str, ...]) -> Rig:
        return self._rig.with_detectors(tuple(detectors)) if detectors else self._rig
