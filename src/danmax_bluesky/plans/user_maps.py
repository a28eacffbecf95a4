"""Fast maps as a user calls them: names and numbers in, one generator out."""

from bluesky.utils import MsgGenerator

from danmax_bluesky.plans import maps
from danmax_bluesky.plans.bound import Detectors, Exposure
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.user_diffraction import DiffractionPlans
from danmax_bluesky.runs.grid import Grid


class MapPlans(DiffractionPlans):
    """Maps whose frames are integrated while they are measured."""

    @record_call
    def meshct(
        self,
        fast: str,
        fast_start: float,
        fast_end: float,
        fast_intervals: int,
        slow: str,
        slow_start: float,
        slow_end: float,
        slow_intervals: int,
        exp_time: Exposure,
        *,
        snake: bool = True,
        latency: float = 0.0,
        detectors: Detectors = (),
        sample: str | None = None,
        command: str | None = None,
    ) -> MsgGenerator[str]:
        """Map without stopping in a row: `meshct("tom_sam_x", -1, 1, 200, "tom_sam_y", 0, 1, 100, 0.007)`.

        The fast motor stands first, as in Sardana. It flies along each row, and the PandA triggers all detectors; the
        frames are those of `mesh`, in the same order. A row of which a frame was lost is measured again at the end.

        Args:
            fast: the motor that flies along each row.
            fast_start: its position at the middle of the first exposure of a row, in its units.
            fast_end: its position at the middle of the last exposure of a row.
            fast_intervals: n of them give n + 1 columns.
            slow: the motor that moves once in a row.
            slow_start: its first position, in its units.
            slow_end: its last position.
            slow_intervals: n of them give n + 1 rows.
            exp_time: exposure, seconds.
            snake: every second row goes back; without it the fast motor returns to the beginning of each row.
            latency: dead time between two exposures, seconds; never less than what the detectors need.
            detectors: names; empty takes the active counting detectors.
            sample: name of the sample; None takes the one of `newsample`, `RE.md` or the settings.
            command: as it was typed; None takes the text of this call.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached, run-up and run-down of the fast motor included.
            AcquisitionError: rows are not whole after two tries; everything else is.
        """
        rig, md = self._diffraction(detectors, command, sample)
        extents = (slow_start, slow_end), (fast_start, fast_end)
        grid = Grid((slow, fast), extents, (slow_intervals + 1, fast_intervals + 1), snake)
        return (yield from maps.fly_map(rig, grid, exp_time, latency, md=md))
