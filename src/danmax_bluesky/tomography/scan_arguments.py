"""The keywords of `tomo_scan`, for type checkers and editors.

Made from the description of a scan, `TomoScan`, by `make generated`; do not edit it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from danmax_bluesky.tomography.sequences import AngleSequence
from danmax_bluesky.tomography.translations import Helical, Line, Places


class ScanArguments(TypedDict, total=False):
    """Each parameter of a tomography that is given by its name."""

    latency: float
    """dead time between exposures, at least the detector's own (s; 0 to 4000)."""
    tomo_det: Sequence[str] | str
    """2D detectors by name; empty takes the active ones."""
    npt_fields: int
    """number of dark frames, and of flat frames (0 to 1000000)."""
    npt_darks: int | None
    """number of dark frames, where it is not npt_fields (0 to 1000000)."""
    npt_flats: int | None
    """number of flat frames, where it is not npt_fields (0 to 1000000)."""
    flat_exp_time: float | None
    """exposure of one flat, where it is not exp_time (s; 1e-06 to 4000)."""
    flats_every: int
    """take flats again after this many projections; 0 never (0 to 10000000)."""
    posflat: str
    """named position with the sample out of the beam; empty takes the one of the settings."""
    flat_angle_deg: float | None
    """rotate here before the sample moves out for flats; without it rotation stays (degrees; -1000000 to 1000000)."""
    condition: float | Literal["stable"]
    """wait after the shutter opens for flats; stable waits for the beam monitor (s; 0 to 86400)."""
    tori_name: str
    """settings file of the reconstruction; none makes no slices."""
    center: Literal["auto", "tori"]
    """where the centre of rotation comes from (auto, tori)."""
    get_dark: bool
    """dark frames before."""
    get_flat: bool
    """flat frames before."""
    get_ortho: bool
    """a frame every 90 degrees on the way back."""
    get_flat_after: bool
    """flat frames after."""
    get_dark_after: bool
    """dark frames after."""
    return_to_start: bool
    """rotate back to where rotation stood."""
    fields_flag: str
    """6 digits 0 or 1, the options get_dark, get_flat, get_ortho, get_flat_after, get_dark_after, return_to_start in
    this order."""
    angles: AngleSequence | Sequence[float] | str
    """order in which the angles are taken: linear, interlaced, golden, van_der_corput, or a list (for ascan, ascanct,
    dscan, dscanct)."""
    turns: int
    """how often the range is passed (1 to 100000; for ascan, ascanct, dscan, dscanct)."""
    back_and_forth: bool
    """each turn is a sweep of its own, every second one backwards (for ascan, ascanct, dscan, dscanct)."""
    velocity_deg_s: float
    """rotation turns freely at this speed; 0 leaves it at rest (degrees/s; -10000 to 10000; for timescan)."""
    every_position: bool
    """trigger on every position, not in time (for ascanct, dscanct)."""
    helical: Helical | Mapping[str, Any] | str | None
    """a translation that goes with the rotation: motor:millimetres in one turn (for ascan, ascanct, dscan, dscanct)."""
    places: Places | Line | Mapping[str, Any] | str | None
    """a vertical or mosaic series, one scan at each place: motor:start:step:number in millimetres, for several motors
    the slowest first, with commas between them."""
