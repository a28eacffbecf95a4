"""Alignment as a user calls it: measure, propose with an uncertainty, and move only when told."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from bluesky.utils import MsgGenerator

from danmax_bluesky.alignment.proposal import Proposal
from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import AlignmentError, ScanError
from danmax_bluesky.formats.nxtomo import pixel_at_sample_m
from danmax_bluesky.plans import alignment, classic, powder
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import (
    BeamlineMotor,
    Exposure,
    First,
    FromHere,
    ImagingCamera,
    Intervals,
    Last,
    RunOptions,
)
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import nothing_is_away, position_units, read_position
from danmax_bluesky.plans.user_devices import name_of
from danmax_bluesky.plans.user_tomography import TomographyPlans
from danmax_bluesky.scattering.classifiers import NAMES as INTEGRALS
from danmax_bluesky.tomography.scan import TomoScan

if TYPE_CHECKING:
    from danmax_bluesky.storage.scan import Scan


class AlignmentPlans(TomographyPlans):
    """Plans that propose where motors should stand. What they measure are ordinary runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proposals: list[Proposal] = []  # shared with the copies for calls with devices: see `_with_devices`

    @property
    def proposal(self) -> Proposal | None:
        """What the last alignment proposed, until it is applied."""
        return self._proposals[-1] if self._proposals else None

    @record_call
    def align_sample(
        self,
        motor: BeamlineMotor,
        start: First,
        end: Last,
        nsteps: Intervals,
        exp_time: Exposure,
        *,
        signal: str = "",
        region: str = "",
        relative: FromHere = False,
        move: bool = False,
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[Proposal]:
        """Find the middle of a peak, a dip or a pair of edges: `align_sample("tom_sam_x", -2, 2, 40, 0.1)`.

        The motor stops at nsteps + 1 positions and returns to where it stood. The proposal is told, drawn, and written
        to `process/alignment/`.

        Args:
            signal: a detector, whose total counts; a counter; the beam monitor; or an integral parameter of the pattern
                (I0, I1, I2, correlation_length); empty takes the first active detector.
            region: of the detector, first row:end,first column:end, as in 10:40,100:220; empty takes all of it.
            move: go to the middle; otherwise align_apply does so later.

        Returns:
            the proposal.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
            AlignmentError: there is nothing but noise, or one flank alone.
        """
        from danmax_bluesky.pipelines.alignment import (  # late: what computes takes a second to import
            region_of,
            sample_proposal,
        )

        read_back = self._reader()
        region_of(region)
        signal = signal or next(iter(self._rig.detectors)).name
        rig = self._reading(signal)
        if region and signal not in rig.cameras:
            raise ScanError(f"region = {region}: {signal} is no detector; leave the region out")
        motor_name, at, units = yield from self._standing(motor)
        first, last = (start, end) if relative else (start - at, end - at)
        md = self._md(**run) | {"plan_name": "align_sample"}
        if signal in rig.cameras or not rig.integrated:
            yield from classic.ascan(rig, motor_name, first, last, nsteps, exp_time, relative=True, md=md)
        else:
            md["recipes"] = [
                recipe.model_dump(mode="json") for recipe in self._settings.recipes if recipe.detector in rig.integrated
            ]
            points = powder.line(at + first, at + last, nsteps)
            yield from powder.azint_points(rig, (motor_name,), points, exp_time, md=md)
        return (
            yield from self._propose(lambda: sample_proposal(read_back(), motor_name, units, at, signal, region), move)
        )

    @record_call
    def align_axis(
        self,
        exp_time: Exposure,
        *,
        start: float = 0.0,
        four: bool = True,
        num_fields: int = 10,
        detector: ImagingCamera = "",
        motor: BeamlineMotor = "",
        direction: int = 1,
        move: bool = False,
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[Proposal]:
        """Find the rotation axis from a few orientations of the sample: `align_axis(0.05, motor="tom_sam_x")`.

        It is a tomography of two or four projections with darks and flats. A pitch along the beam is told if the sample
        lies wholly in the field and stands off the axis.

        Args:
            start: angle of the first orientation, degrees.
            four: four orientations, by 90 degrees; otherwise two, half a turn apart.
            num_fields: number of dark frames, and of flat frames.
            motor: the motor, or its name, that carries the rotation across the beam, in mm, and can
                bring the axis to the middle of the field; empty names none.
            direction: 1 if a rising position moves the image to rising columns, -1 if to falling ones.
            move: bring the axis to the middle; otherwise align_apply does so later.

        Returns:
            the proposal.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: it cannot be measured here and now, with every reason.
            AlignmentError: the images show no axis.
        """
        from danmax_bluesky.pipelines.alignment_axis import (
            axis_proposal,  # late: what computes takes a second to import
        )

        read_back = self._reader()
        refuse_direction(direction)
        name, pixel_mm = self._camera(detector)
        motor_name, at, units = (yield from self._standing(motor)) if motor else ("", 0.0, "")
        if units not in ("", "mm"):
            raise ScanError(f"motor = {motor_name}: its position is in {units}; it must be one across the beam, in mm")
        last = start + (270.0 if four else 180.0)
        scan = TomoScan(
            scan_type="ascan",
            rot_mot=self._rig.rotation.name,
            scan_start=start,
            scan_end=last,
            nsteps=3 if four else 1,
            exp_time=exp_time,
            tomo_det=(name,),
            npt_fields=num_fields,
            tori_name="none",
            fields_flag="110001",
        )
        rig, judged = yield from self._judged(scan)
        judged.raise_if_errors()
        yield from nothing_is_away(rig)
        yield from self._measure(scan, rig, judged, self._md(**run))
        work = lambda: axis_proposal(read_back(), name, pixel_mm, motor_name, units, at, direction)  # noqa: E731
        return (yield from self._propose(work, move))

    @record_call
    def align_focus(
        self,
        motor: BeamlineMotor,
        start: First,
        end: Last,
        nsteps: Intervals,
        exp_time: Exposure,
        *,
        rows: int = 3,
        columns: int = 4,
        relative: FromHere = False,
        detector: ImagingCamera = "",
        move: bool = False,
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[Proposal]:
        """Find the focus across the field of a camera: `align_focus("tom_focus", -0.05, 0.05, 20, 0.05)`.

        The motor stops at nsteps + 1 positions and returns to where it stood.

        Args:
            motor: the motor that focuses the camera, or its name.
            rows: rows of tiles whose sharpness is judged.
            columns: columns of tiles.
            move: focus the middle of the field; otherwise align_apply does so later.

        Returns:
            the proposal.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
            AlignmentError: too few tiles become sharp.
        """
        from danmax_bluesky.pipelines.alignment_focus import (
            focus_proposal,  # late: what computes takes a second to import
        )

        read_back = self._reader()
        name, pixel_mm = self._camera(detector)
        motor_name, at, units = yield from self._standing(motor)
        first, last = (start, end) if relative else (start - at, end - at)
        md = self._md(**run) | {"plan_name": "align_focus"}
        rig = self._rig.with_detectors((name,))
        yield from classic.ascan(rig, motor_name, first, last, nsteps, exp_time, relative=True, md=md)
        work = lambda: focus_proposal(read_back(), name, motor_name, units, at, pixel_mm, rows, columns)  # noqa: E731
        return (yield from self._propose(work, move))

    @record_call
    def align_apply(self) -> MsgGenerator[None]:
        """Do what the last alignment proposed: move its motors, write its files.

        Raises:
            AlignmentError: nothing is proposed, or it was done already.
            PreflightError: a motor cannot go there; then none moves.
        """
        from danmax_bluesky.pipelines.alignment import write_files  # late: what computes takes a second to import

        proposal = self.proposal
        if proposal is None:
            raise AlignmentError("nothing is proposed that was not done already; run an alignment first")
        yield from alignment.apply(self._rig, proposal)
        yield from alignment.computed(lambda: write_files(proposal))
        self._proposals.clear()
        done = [f"moved {move}" for move in proposal.moves] + [f"written {path}" for path in proposal.files]
        self.tell("\n".join(done) or "there was nothing to move or to write")

    def _propose(self, work: Callable[[], Proposal], move: bool) -> MsgGenerator[Proposal]:
        """Compute a proposal, tell it, and apply it if that was asked for."""
        self._proposals.clear()
        proposal = yield from alignment.computed(work)
        self._proposals.append(proposal)
        self.tell(str(proposal))
        if move:
            yield from self.align_apply()
        elif proposal.moves or proposal.files:
            self.tell("nothing was moved or replaced; RE(align_apply()) does what is proposed")
        return proposal

    def _reader(self) -> "Callable[[], Scan]":
        """What opens the run that was measured last.

        Raises:
            ScanError: no master is written, which an alignment reads.
        """
        if not self._settings.formats.nexus:
            raise ScanError("formats.nexus = false: an alignment reads the master of its run; set formats.nexus = true")
        return self.last_scan

    def _standing(self, motor: str | MotorDevice) -> MsgGenerator[tuple[str, float, str]]:
        """The name of a motor, where it stands, and the units of its position."""
        moved = self._rig.motor(name_of(motor))
        position = yield from read_position(moved)
        return moved.name, position, (yield from position_units(moved))

    def _camera(self, detector: str) -> tuple[str, float]:
        """An imaging camera, and what one of its pixels sees of the sample, mm.

        Raises:
            ScanError: there is no such camera.
        """
        name = detector or self._active("imaging")[0]
        self._rig.with_detectors((name,))
        settings = self._settings.detectors[name]
        if settings.kind != "imaging":
            raise ScanError(f"detector = {name}: is no imaging camera")
        return name, pixel_at_sample_m(settings.pixel_size_m, settings.magnification) * 1e3

    def _reading(self, signal: str) -> Rig:
        """The rig that reads a signal at each position: one detector, or counters alone.

        Raises:
            ScanError: there is no such signal, with those that there are.
        """
        rig = self._rig
        if signal in rig.cameras:
            return rig.with_detectors((signal,))
        counters = [getattr(counter, "name", "") for counter in rig.counters()]
        if any(signal == name or signal.startswith(f"{name}-") for name in counters if name):
            return rig.with_detectors(())
        for name, integrals in rig.integrals.items():
            if signal in INTEGRALS or signal in integrals.keys:
                return rig.with_detectors((name,))
        there = [*rig.cameras, *counters, *(INTEGRALS if rig.integrals else ())]
        raise ScanError(f"signal = {signal!r}: there is none; there are {', '.join(filter(None, there))}")


def refuse_direction(direction: int) -> None:
    """Refuse what is no direction.

    Raises:
        ScanError: it is neither 1 nor -1.
    """
    if direction not in (1, -1):
        raise ScanError(f"direction = {direction}: must be 1 or -1")
