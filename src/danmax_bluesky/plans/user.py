"""The plans as a user calls them: names and numbers in, one generator out, bound to the devices of a session."""

import functools
import inspect
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from danmax_bluesky.config import Settings
from danmax_bluesky.devices.configurator_store import ConfiguratorStore
from danmax_bluesky.devices.flat_positions import FlatPositions, position_of
from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.errors import PreflightError, ScanError
from danmax_bluesky.parsing import nearest
from danmax_bluesky.plans import adaptive, powder, tomography
from danmax_bluesky.plans.read_state import beamline_facts
from danmax_bluesky.plans.recipes import recipe_findings
from danmax_bluesky.plans.report import scan_report
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import nothing_is_away, read_position
from danmax_bluesky.tomography.parameters import scan_arguments, values_of
from danmax_bluesky.tomography.preflight import preflight
from danmax_bluesky.tomography.scan import TomoScan

Plan = Generator[Any, Any, Any]
_TOLD_OTHERWISE = ("self", "detectors", "sample", "command")


def _record_call(plan: Callable[..., Plan]) -> Callable[..., Plan]:
    """Let the start document of each run of a plan tell how the plan was called: `call`, so that it can run again."""
    signature = inspect.signature(plan)

    @functools.wraps(plan)
    def telling(*args: Any, **kwargs: Any) -> Plan:
        for name, value in kwargs.items():
            if name not in signature.parameters:
                hint = nearest(name, set(signature.parameters) - {"self"})
                raise ScanError(f"{name} = {value!r}: {plan.__name__} has no such parameter; {hint}")
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            takes = ", ".join(name for name in signature.parameters if name != "self")
            raise ScanError(f"{plan.__name__}: {error}; it takes {takes}") from None
        bound.apply_defaults()
        call = {key: value for key, value in bound.arguments.items() if key not in _TOLD_OTHERWISE}
        return bpp.inject_md_wrapper(plan(*args, **kwargs), {"call": {"plan": plan.__name__, **call}})

    return telling


class Plans:
    """Every plan of the beamline.

    Args:
        rig: the devices.
        settings: detectors and their kinds.
        visit: folders of the visit.
        tell: takes a text for the person at the prompt.
    """

    def __init__(
        self, rig: Rig, settings: Settings, visit: VisitPaths, tell: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.tell = tell
        self.configurator = ConfiguratorStore(visit.state / "configurator.json")
        self._rig = rig
        self._settings = settings
        self._visit = visit
        self.positions = FlatPositions(visit.positions)

    @property
    def settings(self) -> Settings:
        """What the plans go by; another visit brings its own scan parameters and named positions."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        self._visit = VisitPaths.of(settings)
        self.configurator.move(self._visit.state / "configurator.json")
        self.positions = FlatPositions(self._visit.positions)

    def tomo_scan(
        self,
        scan_type: str | None = None,
        rot_mot: str | None = None,
        scan_start: float | None = None,
        scan_end: float | None = None,
        nsteps: int | None = None,
        exp_time: float | None = None,
        *,
        sample: str | None = None,
        command: str | None = None,
        dry_run: bool = False,
        configurator: bool = True,
        **parameters: Any,
    ) -> MsgGenerator[str | None]:
        """Measure a tomography: `tomo_scan("ascanct", "tom_ry", 0, 180, 1800, 0.01, npt_fields=20)`.

        What is not given is taken from the configurator, which keeps what the last scan used.

        Args:
            scan_type: ascan, ascanct, dscan, dscanct or timescan.
            rot_mot: rotation motor.
            scan_start: first angle, degrees.
            scan_end: last angle, degrees.
            nsteps: intervals: n of them give n + 1 projections.
            exp_time: exposure, seconds.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as typed; None says how this was called.
            dry_run: only tell what would be measured; nothing moves.
            configurator: False takes the usual values for what is not given, and leaves the configurator as it is.
            parameters: any other of `TomoScan`.

        Returns:
            the uid of the run, None for a dry run.

        Raises:
            ScanError: the scan cannot be.
            PreflightError: it cannot be measured here and now, with every reason.
        """
        named = {
            "scan_type": scan_type,
            "rot_mot": rot_mot,
            "scan_start": scan_start,
            "scan_end": scan_end,
            "nsteps": nsteps,
            "exp_time": exp_time,
        }
        given = {name: value for name, value in named.items() if value is not None} | parameters
        known = scan_arguments(self.configurator.scan_parameters(), given) if configurator else given
        scan = TomoScan(**known)
        typed = command or _call("tomo_scan", **given)
        rig = self._rig.with_detectors(self._known(scan.tomo_det) or self._active("imaging"))
        facts = yield from beamline_facts(rig, self._settings, self._visit, self.positions, scan)
        found = preflight(scan, facts)
        self.tell(scan_report(scan, found, given if configurator else TomoScan.model_fields, full=dry_run))
        if dry_run:
            return None
        found.refuse()
        yield from nothing_is_away(rig)
        if configurator:
            self.configurator.update(values_of(scan))
        needs_flats = any(phase.kind == "flat" for phase in found.phases)
        out = position_of(self._settings, self.positions, scan.posflat) if needs_flats else None
        return (yield from tomography.tomo_scan(rig, scan, out, md=self._md(typed, sample)))

    @_record_call
    def azint_count(
        self,
        num: int,
        exp_time: float,
        *,
        latency: float = 0.0,
        until: str = "",
        detectors: tuple[str, ...] = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Expose the diffraction detector `num` times and integrate: `azint_count(10, 0.5)`.

        With `until` it is a time series that ends by itself, as in `azint_count(1000, 0.5, until="I0 < 50%")`: each
        exposure then waits until the one before is integrated.

        Args:
            num: number of exposures.
            exp_time: exposure, seconds.
            latency: dead time between exposures, seconds.
            until: an integral parameter of the pattern (I0, I1, I2, correlation_length; with several recipes
                <detector>_<recipe>_I0), a sign, and a number, or a percentage of the first; empty for all exposures.
            detectors: names; empty takes the active counting detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as typed; None says how this was called.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
        """
        more = {"until": until} if until else {}
        typed = command or _call("azint_count", num, exp_time, latency=latency, **more)
        rig, md = self._diffraction(detectors, typed, sample)
        if not until:
            return (yield from powder.azint_count(rig, num, exp_time, latency, md=md))
        if num < 1:
            raise ScanError(f"num = {num}: at least 1 exposure is needed")
        points: list[powder.Point] = [()] * num
        steered = self._steered(rig, until)
        md["plan_name"] = "azint_count"
        return (yield from powder.azint_points(rig, (), points, exp_time, course=steered, pause_s=latency, md=md))

    @_record_call
    def azint_scan(
        self,
        motor: str,
        start: float,
        end: float,
        intervals: int,
        exp_time: float,
        *,
        relative: bool = False,
        continuous: bool = False,
        until: str = "",
        detectors: tuple[str, ...] = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Expose the diffraction detector at positions of a motor: `azint_scan("tom_sam_x", -1, 1, 20, 0.1)`.

        Anything that is set to a number is a motor here, a temperature too.

        Args:
            motor: any motor.
            start: first position, in the motor's units.
            end: last position.
            intervals: n of them give n + 1 exposures.
            exp_time: exposure, seconds.
            relative: positions count from where the motor stands, and it returns there.
            continuous: the motor does not stop. The rotation triggers by its encoder; the exposures of another motor
                are timed, and where it was at each of them is noted.
            until: ends the scan early, as in `azint_count`; not for a continuous one.
            detectors: names; empty takes the active counting detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as typed; None says how this was called.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        given = {"relative": relative, "continuous": continuous, "until": until}
        more = {name: value for name, value in given.items() if value}
        typed = command or _call("azint_scan", motor, start, end, intervals, exp_time, **more)
        rig, md = self._diffraction(detectors, typed, sample)
        if continuous and until:
            raise ScanError("until: a continuous scan does not wait for its patterns; leave continuous out")
        origin = (yield from read_position(rig.motor(motor))) if relative else 0.0
        first, last = origin + start, origin + end
        if continuous and motor == rig.rotation.name:
            return (yield from powder.azint_sweep(rig, first, last, intervals, exp_time, back=relative, md=md))
        if continuous:
            return (yield from powder.azint_fly(rig, motor, first, last, intervals, exp_time, back=relative, md=md))
        points = powder.line(first, last, intervals)
        course = self._steered(rig, until, motor) if until else None
        md["plan_name"] = "azint_scan"
        return (yield from powder.azint_points(rig, (motor,), points, exp_time, course=course, back=relative, md=md))

    @_record_call
    def azint_adaptive(
        self,
        motor: str,
        start: float,
        end: float,
        exp_time: float,
        change: float,
        smallest: float,
        largest: float,
        *,
        key: str = "I0",
        detectors: tuple[str, ...] = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Scan a motor in steps that follow the patterns: `azint_adaptive("tom_sam_x", -1, 1, 0.1, 50, 0.01, 0.2)`.

        Args:
            motor: any motor.
            start: first position, in the motor's units.
            end: last position.
            exp_time: exposure, seconds.
            change: of the integral parameter from one point to the next that is aimed for.
            smallest: step, in the motor's units.
            largest: step.
            key: which integral parameter; with several recipes <detector>_<recipe>_I0.
            detectors: names; empty takes the active counting detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as typed; None says how this was called.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        given = (motor, start, end, exp_time, change, smallest, largest)
        rig, md = self._diffraction(detectors, command or _call("azint_adaptive", *given, key=key), sample)
        self._must_be_read(rig, key, (motor,))
        if not 0 < smallest <= largest or not change > 0:
            raise ScanError(
                f"change = {change:g}, smallest = {smallest:g}, largest = {largest:g}: all must be above 0, and the "
                "smallest step not above the largest"
            )
        ends = [(start,), (end,)]
        most = 4 * math.ceil(abs(end - start) / smallest) + 1  # steps that are gone back count too
        course = functools.partial(_along, start, end, key, change, smallest, largest)
        md["plan_name"] = "azint_adaptive"
        return (
            yield from powder.azint_points(rig, (motor,), ends, exp_time, course=course, most=most, back=False, md=md)
        )

    @_record_call
    def mesh(
        self,
        slow: str,
        slow_start: float,
        slow_end: float,
        slow_intervals: int,
        fast: str,
        fast_start: float,
        fast_end: float,
        fast_intervals: int,
        exp_time: float,
        *,
        snake: bool = True,
        detectors: tuple[str, ...] = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Map diffraction: `mesh("tom_sam_y", 0, 1, 10, "tom_sam_x", -1, 1, 20, 0.1)`; the motors are put back.

        Args:
            slow: the motor that moves once in a row.
            slow_start: its first position, in its units.
            slow_end: its last position.
            slow_intervals: n of them give n + 1 rows.
            fast: the motor that moves within a row.
            fast_start: its first position.
            fast_end: its last position.
            fast_intervals: n of them give n + 1 columns.
            exp_time: exposure, seconds.
            snake: every second row goes back.
            detectors: names; empty takes the active counting detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as typed; None says how this was called.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        rows = powder.line(slow_start, slow_end, slow_intervals)
        columns = powder.line(fast_start, fast_end, fast_intervals)
        given = (slow, slow_start, slow_end, slow_intervals, fast, fast_start, fast_end, fast_intervals, exp_time)
        rig, md = self._diffraction(detectors, command or _call("mesh", *given, snake=snake), sample)
        md |= {"plan_name": "mesh", "shape": [len(rows), len(columns)], "snaking": [False, snake]}
        md |= {"extents": [[slow_start, slow_end], [fast_start, fast_end]], "hints": {"gridding": "rectilinear"}}
        points = powder.grid(rows, columns, snake)
        return (yield from powder.azint_points(rig, (slow, fast), points, exp_time, md=md))

    def _diffraction(self, detectors: tuple[str, ...], command: str, sample: str | None) -> tuple[Rig, dict[str, Any]]:
        """The rig with the detectors of a diffraction plan, and what its start document says."""
        rig = self._rig.with_detectors(tuple(detectors) or self._active("counting"))
        names = {detector.name for detector in rig.detectors}
        recipes = [recipe for recipe in self._settings.recipes if recipe.detector in names]
        if self._settings.formats.integrate and (found := list(recipe_findings(recipes, self._settings.beamline))):
            raise PreflightError(found)
        return rig, {**self._md(command, sample), "recipes": [recipe.model_dump(mode="json") for recipe in recipes]}

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
        integrals = [name for known in rig.integrated.values() for name in known.keys]
        adaptive.select_reading(dict.fromkeys([*integrals, *motors, rig.ring_current.name], 0.0), key)

    def _known(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names that are detectors; the preflight tells of the others."""
        return tuple(name for name in names if name in self._settings.detectors)

    def _active(self, kind: str) -> tuple[str, ...]:
        names = tuple(
            name for name, detector in self._settings.detectors.items() if detector.active and detector.kind == kind
        )
        if not names:
            raise ScanError(f"no active {kind} detector; name one, or set detectors.<name>.active in the settings")
        return names

    def _md(self, command: str, sample: str | None) -> dict[str, Any]:
        return {"command": command, **({} if sample is None else {"sample": sample})}


def _along(
    start: float, end: float, key: str, change: float, smallest: float, largest: float, _ends: Sequence[powder.Point]
) -> adaptive.PointPolicy:
    return adaptive.adaptive(start, end, key, change, smallest, largest)


def plan_names() -> tuple[str, ...]:
    """The names of the plans, for a prompt or a queue."""
    return tuple(name for name, member in inspect.getmembers(Plans, inspect.isfunction) if not name.startswith("_"))


def _call(plan: str, *positional: Any, **named: Any) -> str:
    """How a plan was called, as Python would have it."""
    words = [repr(value) for value in positional] + [f"{key}={value!r}" for key, value in named.items()]
    return f"{plan}({', '.join(words)})"
