"""Diffraction as a user calls it: names and numbers in, one generator out."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from bluesky.protocols import Readable
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import PreflightError, ScanError
from danmax_bluesky.plans import adaptive, powder
from danmax_bluesky.plans.bound import BoundPlans
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import (
    Columns,
    CountingDetectors,
    Exposure,
    First,
    Intervals,
    Last,
    Latency,
    Metadata,
    Motor,
    PerShot,
    Rows,
    RunOptions,
    SlowFirst,
    SlowLast,
    Snake,
    Steps,
)
from danmax_bluesky.plans.recipes import recipe_findings
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import read_position
from danmax_bluesky.plans.user_devices import name_of

_OWN_STEPS = (
    "{name}: only a scan that stops at all its points, whatever it measures there, takes steps of your own; leave out "
    "until and continuous, or leave out {name}"
)


class DiffractionPlans(BoundPlans):
    """Plans whose frames are integrated while they are measured."""

    @record_call
    def azint_count(
        self,
        num: int,
        exp_time: Exposure,
        *,
        latency: Latency = 0.0,
        until: str = "",
        per_shot: PerShot | None = None,
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Expose the diffraction detector `num` times and integrate: `azint_count(10, 0.5)`.

        With `until` it is a time series that ends by itself, as in `azint_count(1000, 0.5, until="I0 < 50%")`: each
        exposure then waits until the one before is integrated.

        Args:
            num: number of exposures.
            until: an integral parameter of the pattern (I0, I1, I2, correlation_length; with several recipes
                <detector>_<recipe>_I0), a sign, and a number, or a percentage of the first; empty for all exposures.
            per_shot: plan of each exposure, which reads what it is given into the stream `primary`, as Bluesky's
                `one_shot` does. The exposures are then timed by the detector, one by one.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
        """
        rig, start_doc = self._diffraction(detectors, **run)
        if until and per_shot is not None:
            raise ScanError(_OWN_STEPS.format(name="per_shot"))
        if not until and per_shot is None:
            return (yield from powder.azint_count(rig, num, exp_time, latency, md=start_doc))
        if num < 1:
            raise ScanError(f"num = {num}: at least 1 exposure is needed")
        points: list[powder.Point] = [()] * num
        steered = self._steered(rig, until) if until else None
        step = None if per_shot is None else lambda devices, _step, _sent_to: per_shot(devices)
        start_doc["plan_name"] = "azint_count"
        return (
            yield from powder.azint_points(
                rig, (), points, exp_time, course=steered, per_step=step, pause_s=latency, md=start_doc
            )
        )

    @record_call
    def azint_scan(
        self,
        motor: Motor,
        start: First,
        end: Last,
        intervals: Intervals,
        exp_time: Exposure,
        *,
        relative: bool = False,
        continuous: bool = False,
        until: str = "",
        per_step: Steps = None,
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Expose the diffraction detector at positions of a motor: `azint_scan("tom_sam_x", -1, 1, 20, 0.1)`.

        Anything that is set to a number is a motor here, a temperature too.

        Args:
            relative: positions count from where the motor stands, and it returns there.
            continuous: the motor does not stop. The rotation triggers by its encoder; the exposures of another motor
                are timed, and where it was at each of them is noted.
            until: ends the scan early, as in `azint_count`; not for a continuous one.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, start_doc = self._diffraction(detectors, **run)
        if per_step is not None and (continuous or until):
            raise ScanError(_OWN_STEPS.format(name="per_step"))
        if continuous and until:
            raise ScanError("until: a continuous scan does not wait for its patterns; leave continuous out")
        name = name_of(motor)
        origin = (yield from read_position(rig.mover(name))) if relative else 0.0
        first, last = origin + start, origin + end
        if continuous and name == rig.rotation.name:
            return (yield from powder.azint_sweep(rig, first, last, intervals, exp_time, back=relative, md=start_doc))
        if continuous:
            return (
                yield from powder.azint_fly(rig, name, first, last, intervals, exp_time, back=relative, md=start_doc)
            )
        points = powder.line(first, last, intervals)
        course = self._steered(rig, until, name) if until else None
        start_doc["plan_name"] = "azint_scan"
        return (
            yield from powder.azint_points(
                rig, (name,), points, exp_time, course=course, per_step=per_step, back=relative, md=start_doc
            )
        )

    @record_call
    def azint_adaptive(
        self,
        motor: Motor,
        start: First,
        end: Last,
        exp_time: Exposure,
        change: float,
        smallest: float,
        largest: float,
        *,
        key: str = "I0",
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Scan a motor in steps that follow the patterns: `azint_adaptive("tom_sam_x", -1, 1, 0.1, 50, 0.01, 0.2)`.

        Args:
            change: of the integral parameter from one point to the next that is aimed for.
            smallest: step, in the motor's units.
            largest: step.
            key: which integral parameter; with several recipes <detector>_<recipe>_I0.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rig, start_doc = self._diffraction(detectors, **run)
        name = name_of(motor)
        self._must_be_read(rig, key, (name,))
        if not 0 < smallest <= largest or not change > 0:
            raise ScanError(
                f"change = {change:g}, smallest = {smallest:g}, largest = {largest:g}: all must be above 0, and the "
                "smallest step not above the largest"
            )
        ends = [(start,), (end,)]
        most = 4 * math.ceil(abs(end - start) / smallest) + 1  # steps that are gone back count too
        course = functools.partial(_along, start, end, key, change, smallest, largest)
        start_doc["plan_name"] = "azint_adaptive"
        return (
            yield from powder.azint_points(
                rig, (name,), ends, exp_time, course=course, most=most, back=False, md=start_doc
            )
        )

    @record_call
    def mesh(
        self,
        fast: Motor,
        fast_start: float,
        fast_end: float,
        fast_intervals: Columns,
        slow: Motor,
        slow_start: SlowFirst,
        slow_end: SlowLast,
        slow_intervals: Rows,
        exp_time: Exposure,
        *,
        snake: Snake = True,
        per_step: Steps = None,
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Map diffraction: `mesh("tom_sam_x", -1, 1, 20, "tom_sam_y", 0, 1, 10, 0.1)`; the motors are put back.

        The fast motor stands first, as in Sardana.

        Args:
            fast: the motor that moves within a row.
            fast_start: its first position, in its units.
            fast_end: its last position.
            slow: the motor that moves once in a row.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rows = powder.line(slow_start, slow_end, slow_intervals)
        columns = powder.line(fast_start, fast_end, fast_intervals)
        rig, start_doc = self._diffraction(detectors, **run)
        start_doc |= {"plan_name": "mesh", "shape": [len(rows), len(columns)], "snaking": [False, snake]}
        start_doc |= {"extents": [[slow_start, slow_end], [fast_start, fast_end]], "hints": {"gridding": "rectilinear"}}
        points = powder.grid(rows, columns, snake)
        motors = name_of(slow), name_of(fast)
        return (yield from powder.azint_points(rig, motors, points, exp_time, per_step=per_step, md=start_doc))

    def _diffraction(
        self,
        detectors: Sequence[str | Readable[Any]],
        command: str | None = None,
        sample: str | None = None,
        md: Metadata = None,
    ) -> tuple[Rig, dict[str, Any]]:
        """The rig with the detectors of a diffraction plan, and what its start document says."""
        rig = self._rig.with_detectors(tuple(map(name_of, detectors)) or self._active("counting"))
        names = {detector.name for detector in rig.detectors}
        recipes = [recipe for recipe in self._settings.recipes if recipe.detector in names]
        if self._settings.formats.integrate and (problems := list(recipe_findings(recipes, self._settings.beamline))):
            raise PreflightError(problems)
        return rig, {**self._md(command, sample, md), "recipes": [recipe.model_dump(mode="json") for recipe in recipes]}

    def _steered(self, rig: Rig, until: str, *motors: str) -> Callable[[Sequence[powder.Point]], adaptive.PointPolicy]:
        """A course that ends once the condition is met."""
        condition = adaptive.Condition.parse(until)
        self._must_be_read(rig, condition.key, motors)
        return functools.partial(adaptive.until, condition=condition)

    def _must_be_read(self, rig: Rig, key: str, motors: Sequence[str]) -> None:
        """Refuse, before anything moves, to be steered by what will not be read."""
        if not rig.integrated:
            raise ScanError(
                "no armed detector is integrated while it is measured, so nothing can be steered by its patterns; "
                "set formats.integrate, and a recipe for the detector"
            )
        integrals = [name for device in rig.integrated.values() for name in device.keys]
        adaptive.select_reading(dict.fromkeys([*integrals, *motors, rig.ring_current.name], 0.0), key)


def _along(
    start: float, end: float, key: str, change: float, smallest: float, largest: float, _ends: Sequence[powder.Point]
) -> adaptive.PointPolicy:
    return adaptive.adaptive(start, end, key, change, smallest, largest)
