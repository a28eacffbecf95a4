"""The tomography as a user calls it: names and numbers in, one generator out."""

from collections.abc import Mapping
from typing import Any, Unpack

from bluesky.utils import MsgGenerator

from danmax_bluesky.devices.flat_positions import position_of
from danmax_bluesky.options import options_of
from danmax_bluesky.plans import tomography
from danmax_bluesky.plans.bound import BoundPlans
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import Command, Metadata, Sample
from danmax_bluesky.plans.read_state import beamline_facts
from danmax_bluesky.plans.report import scan_report
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.signature import takes_options_of
from danmax_bluesky.plans.stubs import nothing_is_away
from danmax_bluesky.tomography.parameters import scan_arguments, values_of
from danmax_bluesky.tomography.preflight import Preflight, preflight
from danmax_bluesky.tomography.scan import ScanType, TomoScan
from danmax_bluesky.tomography.scan_arguments import ScanArguments


class TomographyPlans(BoundPlans):
    """The tomography scan."""

    @record_call
    @takes_options_of(TomoScan)
    def tomo_scan(
        self,
        scan_type: ScanType | None = None,
        rot_mot: str | None = None,
        scan_start: float | None = None,
        scan_end: float | None = None,
        nsteps: int | None = None,
        exp_time: float | None = None,
        *,
        sample: Sample = None,
        command: Command = None,
        md: Metadata = None,
        dry_run: bool = False,
        configurator: bool = True,
        **parameters: Unpack[ScanArguments],
    ) -> MsgGenerator[str | None]:
        """Measure a tomography: `tomo_scan("ascanct", "tom_ry", 0, 180, 1800, 0.01, npt_fields=20)`.

        What is not given is taken from the configurator, which holds what the last scan used.

        Args:
            dry_run: only say what would be measured; nothing moves.
            configurator: False takes the usual values for what is not given, and leaves the configurator as it is.

        Returns:
            the uid of the run, None for a dry run.

        Raises:
            ScanError: the scan cannot be.
            PreflightError: it cannot be measured here and now, with every reason.
        """
        words = (scan_type, rot_mot, scan_start, scan_end, nsteps, exp_time)
        given = _given({**dict(zip(TomoScan.model_fields, words, strict=False)), **parameters})
        remembered = self.configurator.scan_parameters() if configurator else None
        scan = TomoScan(**(given if remembered is None else scan_arguments(remembered, given)))
        rig, judged = yield from self._judged(scan)
        self.tell(scan_report(scan, judged, given if configurator else TomoScan.model_fields, full=dry_run))
        if dry_run:
            return None
        judged.raise_if_errors()
        yield from nothing_is_away(rig)
        if configurator:
            self.configurator.update(values_of(scan))
        return (yield from self._measure(scan, rig, judged, self._md(command, sample, md)))

    def _judged(self, scan: TomoScan) -> MsgGenerator[tuple[Rig, Preflight]]:
        """The rig with the detectors of a tomography, and what the preflight says of it."""
        detectors = tuple(name for name in scan.tomo_det if name in self._settings.detectors)  # others: the preflight
        rig = self._rig.with_detectors(detectors or self._active("imaging"))
        facts = yield from beamline_facts(rig, self._settings, self._visit, self.positions, scan)
        return rig, preflight(scan, facts)

    def _measure(self, scan: TomoScan, rig: Rig, judged: Preflight, md: Mapping[str, Any]) -> MsgGenerator[str]:
        """Measure a tomography that the preflight has nothing against."""
        assert judged.plan is not None  # what could not be planned is an error of the preflight
        out = position_of(self._settings, self.positions, scan.posflat) if judged.plan.takes_flats else None
        return (yield from tomography.tomo_scan(rig, judged.plan, out, md=md))


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    """What was given: None counts only where it is a value of the option, as in `helical=None`."""
    may_be_none = {option.name for option in options_of(TomoScan) if option.default is None}
    return {name: value for name, value in parameters.items() if value is not None or name in may_be_none}
