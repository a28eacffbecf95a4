"""What the devices say of themselves now, as the plain values that a preflight judges."""

import os
from collections.abc import Mapping

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from danmax_bluesky.config import Settings
from danmax_bluesky.devices.flat_positions import FlatPositions, PositionError, position_of
from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.devices.protocols import FrameDetector, MotorDevice
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.formats.nxtomo import pixel_at_sample_m
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import read_position
from danmax_bluesky.tomography.beamline_state import BeamlineFacts, DetectorFacts, FlatPosition, MotorFacts
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.tori import tori_names, tori_problem

BYTES_PER_PIXEL = {"imaging": 2, "counting": 4}


def beamline_facts(
    rig: Rig, settings: Settings, visit: VisitPaths, positions: FlatPositions, scan: TomoScan
) -> MsgGenerator[BeamlineFacts]:
    """Ask the motors and the detectors that the scan uses; nothing moves."""
    flat_positions = _flat_positions(settings, positions, scan.posflat)
    missing: dict[str, str] = {}
    motors: dict[str, MotorFacts] = {}
    for name in _motors_of(scan, rig, flat_positions):
        try:
            motors[name] = yield from motor_facts(
                rig.motors[name], settings.motors[name].units, settings.motors[name].settle_time
            )
        except DeviceError as error:
            missing[name] = f"motors.{name}: {str(error).removeprefix(f'{name}: ')}"
    detectors: dict[str, DetectorFacts] = {}
    for camera in rig.detectors:
        try:
            detectors[camera.name] = yield from detector_facts(camera, settings)
        except DeviceError as error:
            missing[camera.name] = f"detectors.{camera.name}: {str(error).removeprefix(f'{camera.name}: ')}"
    return BeamlineFacts(
        detectors=detectors,
        active=tuple(detector.name for detector in rig.detectors),
        motors=motors,
        rotation=rig.rotation.name,
        scale=rig.scale,
        flat_positions=flat_positions,
        tori=_tori(visit, scan),
        folder_problem=_folder_problem(visit),
        free_bytes=visit.free_bytes(),
        monitor=rig.monitor is not None,
        missing=missing,
        all_motors=tuple(rig.motors),
        all_detectors=tuple(rig.cameras),
    )


def _motors_of(scan: TomoScan, rig: Rig, flat_positions: Mapping[str, FlatPosition]) -> list[str]:
    """Every motor that the scan would move, and that there is."""
    names = [rig.rotation.name, scan.rot_mot]
    names += [scan.helical.motor] if scan.helical else []
    names += scan.places.motors if scan.places else ()
    out = flat_positions.get(scan.posflat) if scan.wants_flats else None
    names += [name for name, _ in out.moves] if out else []
    return [name for name in dict.fromkeys(names) if name in rig.motors]


def detector_facts(camera: FrameDetector, settings: Settings) -> MsgGenerator[DetectorFacts]:
    """What a detector says of itself, and what the settings know of it."""
    configured = settings.detectors[camera.name]
    return DetectorFacts(
        name=camera.name,
        width=int((yield from bps.rd(camera.width))),
        height=int((yield from bps.rd(camera.height))),
        bytes_per_pixel=BYTES_PER_PIXEL[configured.kind],
        readout_s=float((yield from bps.rd(camera.readout_time))),
        max_rate_hz=configured.max_rate_hz,
        level_trigger=configured.level_trigger,
        pixel_m=pixel_at_sample_m(configured.pixel_size_m, configured.magnification),
    )


def motor_facts(motor: MotorDevice, units: str, settle_s: float = 0.0) -> MsgGenerator[MotorFacts]:
    """Where a motor stands and what it may do; its units and the seconds that it takes to settle are the caller's."""
    position = yield from read_position(motor)
    read: dict[str, float] = {}
    for signal in ("low_limit", "high_limit", "velocity", "max_velocity", "acceleration_time"):
        read[signal] = float((yield from bps.rd(getattr(motor, signal))))
    return MotorFacts(
        name=motor.name,
        position=position,
        low_limit=read["low_limit"],
        high_limit=read["high_limit"],
        velocity=read["velocity"],
        max_velocity=read["max_velocity"],
        acceleration_s=read["acceleration_time"],
        settle_s=settle_s,
        units=units,
    )


def _flat_positions(settings: Settings, positions: FlatPositions, wanted: str) -> Mapping[str, FlatPosition]:
    """The position of the settings, the one that was asked for, and all that are saved and whole."""
    usable: dict[str, FlatPosition] = {}
    for name in dict.fromkeys(("", wanted, *positions.names())):
        try:
            position = position_of(settings, positions, name)
        except PositionError:
            continue
        usable[name] = FlatPosition(position.moves, position.rotate_first_deg)
    return usable


def _tori(visit: VisitPaths, scan: TomoScan) -> Mapping[str, str]:
    """Every settings file of a reconstruction, and what is wrong with the one that was asked for."""
    names = dict.fromkeys(tori_names(visit.visit_folder), "")
    return {**names, scan.tori_name: tori_problem(visit.visit_folder, scan.tori_name, scan.center)}


def _folder_problem(visit: VisitPaths) -> str:
    folder = visit.raw
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK):
        return ""
    return f"folder {visit.raw} may not be written to; choose another data root (--data-root)"
