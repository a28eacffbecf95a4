"""Where a diffraction detector stands, and the energy of the beam, by a calibrant: proposed, written when told."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from bluesky.utils import MsgGenerator

from danmax_bluesky.alignment.proposal import Proposal
from danmax_bluesky.config import TWIN
from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans import classic
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import (
    BeamlineMotor,
    Calibrant,
    CountingDetector,
    Exposure,
    First,
    FromHere,
    Intervals,
    Last,
    RunOptions,
)
from danmax_bluesky.plans.user_alignment import AlignmentPlans, refuse_direction

if TYPE_CHECKING:
    from danmax_bluesky.scattering.geometry import Geometry


class DetectorAlignmentPlans(AlignmentPlans):
    """Alignment by the rings of a calibrant."""

    @record_call
    def align_detector(
        self,
        exp_time: Exposure,
        *,
        calibrant: Calibrant = "CeO2",
        detector: CountingDetector = "",
        guess: str = "",
        distance_mm: float | None = None,
        rings: int = 0,
        out: str = "",
        move: bool = False,
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[Proposal]:
        """Expose a calibrant, and find distance, beam and tilt of the detector: `align_detector(1.0)`.

        The .poni that follows is proposed; it is written only when told.

        Args:
            guess: file .poni to begin with; empty takes that of the detector's recipe, else the distance of the
                settings with the beam in the middle.
            distance_mm: distance to begin with, where it is not that of the guess, mm.
            rings: use so many rings at most, from the inner ones; 0 takes all.
            out: file .poni to propose; empty puts it beside the picture, in process/alignment/.
            move: write the .poni; otherwise align_apply does so later.

        Returns:
            the proposal.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            CalibrationError: there is no such calibrant, or no ring is found near the guess.
        """
        from danmax_bluesky.pipelines.alignment_detector import (
            detector_proposal,  # late: what computes takes a second to import
        )

        read_back = self._reader()
        name, geometry = self._guessed(detector, guess, distance_mm, calibrant)
        path = Path(out).expanduser().absolute() if out else None
        if path is not None and path.exists():
            raise ScanError(f"out = {path}: exists already and is not replaced; choose another name")
        md = self._md(**run) | {"plan_name": "align_detector"}
        yield from classic.ct(self._rig.with_detectors((name,)), exp_time, md=md)
        work = lambda: detector_proposal(read_back(), name, geometry, calibrant, rings, path)  # noqa: E731
        return (yield from self._propose(work, move))

    @record_call
    def align_energy(
        self,
        motor: BeamlineMotor,
        start: First,
        end: Last,
        nsteps: Intervals,
        exp_time: Exposure,
        *,
        relative: FromHere = False,
        direction: int = 1,
        calibrant: Calibrant = "CeO2",
        detector: CountingDetector = "",
        guess: str = "",
        distance_mm: float | None = None,
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[Proposal]:
        """Find the energy from a calibrant at several distances: `align_energy("det_z", 0, 200, 4, 1.0)`.

        Energy and distance are refined together, as the motor tells by how much the distances differ. The motor returns
        to where it stood; there is nothing to move.

        Args:
            motor: the motor that moves the detector along the beam, in mm, or its name.
            start: first position, mm.
            end: last position, mm.
            direction: 1 if the detector goes away from the sample as the position rises, -1 if it comes nearer.
            guess: file .poni to begin with, for where the motor stands now; empty as in align_detector.
            distance_mm: distance to begin with, where the motor stands now, mm.

        Returns:
            the proposal.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
            CalibrationError: there is no such calibrant, or no ring is found near the guess.
            AlignmentError: the distances hardly differ.
        """
        from danmax_bluesky.pipelines.alignment_detector import (
            energy_proposal,  # late: what computes takes a second to import
        )

        read_back = self._reader()
        refuse_direction(direction)
        name, geometry = self._guessed(detector, guess, distance_mm, calibrant)
        motor_name, at, units = yield from self._standing(motor)
        if units not in ("", "mm"):
            raise ScanError(f"motor = {motor_name}: its position is in {units}; it must be one along the beam, in mm")
        first, last = (start, end) if relative else (start - at, end - at)
        nearest = geometry.dist * 1e3 + min(direction * first, direction * last)
        if nearest <= 0:
            raise ScanError(
                f"{motor_name}: the detector stands {geometry.dist * 1e3:.4g} mm from the sample and would come to "
                f"{nearest:.4g} mm; give other positions, or direction = {-direction}"
            )
        md = self._md(**run) | {"plan_name": "align_energy"}
        rig = self._rig.with_detectors((name,))
        yield from classic.ascan(rig, motor_name, first, last, nsteps, exp_time, relative=True, md=md)
        work = lambda: energy_proposal(read_back(), name, motor_name, geometry, at, calibrant, direction)  # noqa: E731
        return (yield from self._propose(work, False))

    def _guessed(self, detector: str, guess: str, distance_mm: float | None, calibrant: str) -> "tuple[str, Geometry]":
        """A counting detector, and the geometry that a refinement begins with.

        Raises:
            ScanError: there is no such detector.
            CalibrationError: the calibrant is not known, or the guess cannot be used.
        """
        from danmax_bluesky.pipelines.calibrate import guessed_geometry  # late: pyFAI takes a second to import
        from danmax_bluesky.pipelines.other_programs import read_text
        from danmax_bluesky.scattering.calibrants import calibrant_of
        from danmax_bluesky.scattering.geometry import simulated_geometry

        name = detector or self._active("counting")[0]
        self._rig.with_detectors((name,))
        settings, energy = self._settings.detectors[name], self._settings.source.energy_kev
        if settings.kind != "counting":
            raise ScanError(f"detector = {name}: is no counting detector")
        shape = settings.height, settings.width
        recipe = next((one for one in self._settings.recipes if one.detector == name), None)
        poni = Path(guess).expanduser() if guess else (recipe.poni if recipe else None)
        orientation = recipe.orientation if recipe else None
        if poni is not None:
            begin = guessed_geometry(
                shape, poni=read_text(poni), folder=poni.parent, orientation=orientation, energy_kev=energy
            )
        elif self._settings.beamline == TWIN:
            begin = simulated_geometry(shape, settings.pixel_size_m, settings.distance_m, energy, orientation or 3)
        else:
            begin = guessed_geometry(
                shape,
                orientation=orientation,
                distance_mm=settings.distance_m * 1e3,
                beam_px=(settings.height / 2, settings.width / 2),
                energy_kev=energy,
                pixel_um=settings.pixel_size_m * 1e6,
            )
        calibrant_of(calibrant, begin.wavelength_m)
        if distance_mm is None:
            return name, begin
        if not distance_mm > 0:
            raise ScanError(f"distance_mm = {distance_mm:g}: must be above 0")
        return name, _at_distance(begin, distance_mm * 1e-3)


def _at_distance(geometry: "Geometry", distance_m: float) -> "Geometry":
    """The same detector further along the beam, which goes on meeting the same pixel."""
    further = distance_m - geometry.dist
    return replace(
        geometry,
        dist=distance_m,
        poni1=geometry.poni1 + further * math.tan(geometry.rot2) / math.cos(geometry.rot1),
        poni2=geometry.poni2 - further * math.tan(geometry.rot1),
    )
