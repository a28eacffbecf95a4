"""The plans as a user calls them: names and numbers in, one generator out, bound to the devices of a session."""

import inspect
from collections.abc import Generator
from typing import Any

from bluesky.utils import MsgGenerator

from danmax_bluesky.config import Settings
from danmax_bluesky.devices.flat_positions import FlatPositions, position_of
from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans import powder, tomography
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.tomography.scan import TomoScan

Plan = Generator[Any, Any, Any]


class Plans:
    """Every plan of the beamline.

    Args:
        rig: the devices.
        settings: detectors and their kinds, the sample.
        visit: folders of the visit.
    """

    def __init__(self, rig: Rig, settings: Settings, visit: VisitPaths) -> None:
        self._rig = rig
        self._settings = settings
        self._visit = visit
        self.positions = FlatPositions(visit.positions)

    def tomo_scan(
        self,
        scan_type: str,
        rot_mot: str,
        scan_start: float,
        scan_end: float,
        nsteps: int,
        exp_time: float,
        *,
        sample: str | None = None,
        command: str | None = None,
        dry_run: bool = False,
        **parameters: Any,
    ) -> MsgGenerator[str]:
        """Measure a tomography: `tomo_scan("ascanct", "tom_ry", 0, 180, 1800, 0.01, npt_fields=20)`.

        Args:
            scan_type: ascan, ascanct, dscan, dscanct or timescan.
            rot_mot: rotation motor.
            scan_start: first angle, degrees.
            scan_end: last angle, degrees.
            nsteps: intervals: n of them give n + 1 projections.
            exp_time: exposure, seconds.
            sample: name of the sample; None takes the one of the settings.
            command: as typed; None says how this was called.
            dry_run: only tell what would be measured.
            parameters: any other of `TomoScan`.

        Raises:
            ScanError: the scan cannot be, or a name is unknown.
        """
        scan = TomoScan(
            scan_type=scan_type,
            rot_mot=rot_mot,
            scan_start=scan_start,
            scan_end=scan_end,
            nsteps=nsteps,
            exp_time=exp_time,
            **parameters,
        )
        typed = command or _call("tomo_scan", scan_type, rot_mot, scan_start, scan_end, nsteps, exp_time, **parameters)
        rig = self._rig.with_detectors(scan.tomo_det or self._active("imaging"))
        if rot_mot != rig.rotation.name:
            raise ScanError(
                f"rot_mot = {rot_mot}: the PandA captures the encoder of {rig.rotation.name}; rotate that one, "
                "or set `rotation` and `encoder` in the settings"
            )
        needs_flats = scan.get_flat or scan.get_flat_after or scan.flats_every
        out = position_of(self._settings, self.positions, scan.posflat) if needs_flats else None
        return (yield from tomography.tomo_scan(rig, scan, out, md=self._md(typed, sample)))

    def azint_count(
        self,
        num: int,
        exp_time: float,
        *,
        latency: float = 0.0,
        detectors: tuple[str, ...] = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Expose the diffraction detector `num` times and integrate: `azint_count(10, 0.5)`.

        Args:
            num: number of exposures.
            exp_time: exposure, seconds.
            latency: dead time between exposures, seconds.
            detectors: names; empty takes the active counting detectors.
            sample: name of the sample; None takes the one of the settings.
            command: as typed; None says how this was called.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
        """
        rig = self._rig.with_detectors(tuple(detectors) or self._active("counting"))
        md = self._md(command or _call("azint_count", num, exp_time, latency=latency), sample)
        md["recipes"] = [
            recipe.model_dump(mode="json")
            for recipe in self._settings.recipes
            if recipe.detector in {detector.name for detector in rig.detectors}
        ]
        return (yield from powder.azint_count(rig, num, exp_time, latency, md=md))

    def _active(self, kind: str) -> tuple[str, ...]:
        names = tuple(
            name for name, detector in self._settings.detectors.items() if detector.active and detector.kind == kind
        )
        if not names:
            raise ScanError(f"no active {kind} detector; name one, or set detectors.<name>.active in the settings")
        return names

    def _md(self, command: str, sample: str | None) -> dict[str, Any]:
        return {"command": command, "sample": {"name": self._settings.sample if sample is None else sample}}


def plan_names() -> tuple[str, ...]:
    """The names of the plans, for a prompt or a queue."""
    return tuple(name for name, member in inspect.getmembers(Plans, inspect.isfunction) if not name.startswith("_"))


def _call(plan: str, *positional: Any, **named: Any) -> str:
    """How a plan was called, as Python would have it."""
    words = [repr(value) for value in positional] + [f"{key}={value!r}" for key, value in named.items()]
    return f"{plan}({', '.join(words)})"
