"""Scans in the words of Sardana: single exposures, and exposures at positions of a motor."""

from collections.abc import Sequence
from typing import Any, Unpack

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from danmax_bluesky.plans import classic
from danmax_bluesky.plans.bound import BoundPlans
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import Detectors, Exposure, First, Intervals, Last, Motor, RunOptions, Steps
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.user_devices import name_of


class PointPlans(BoundPlans):
    """Plans in which every active detector exposes, whatever its kind."""

    @record_call
    def ct(
        self,
        exp_time: Exposure = 1.0,
        *,
        detectors: Detectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Expose every active detector once: `ct(0.5)`.

        Returns:
            the uid of the run.

        Raises:
            ScanError: the exposure is out of range, or a name is unknown.
        """
        return (yield from classic.ct(self._armed(detectors), exp_time, md=self._md(**run)))

    @record_call
    def ascan(
        self,
        motor: Motor,
        start: First,
        end: Last,
        nsteps: Intervals,
        exp_time: Exposure,
        *,
        per_step: Steps = None,
        detectors: Detectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Stop at nsteps + 1 positions of a motor, and expose every active detector at each.

        Returns:
            the uid of the run.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, md, name = self._armed(detectors), self._md(**run), name_of(motor)
        return (yield from classic.ascan(rig, name, start, end, nsteps, exp_time, per_step=per_step, md=md))

    @record_call
    def dscan(
        self,
        motor: Motor,
        start: First,
        end: Last,
        nsteps: Intervals,
        exp_time: Exposure,
        *,
        per_step: Steps = None,
        detectors: Detectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Scan a motor around where it stands, as `ascan` does, and bring it back.

        Args:
            start: first distance from where the motor stands, in its units.
            end: last distance from where the motor stands, in its units.

        Returns:
            the uid of the run.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, md, name = self._armed(detectors), self._md(**run), name_of(motor)
        return (
            yield from classic.ascan(rig, name, start, end, nsteps, exp_time, relative=True, per_step=per_step, md=md)
        )

    def _armed(self, detectors: Sequence[str | Readable[Any]]) -> Rig:
        return self._rig.with_detectors(tuple(map(name_of, detectors))) if detectors else self._rig
