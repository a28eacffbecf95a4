"""The tomography scan as a value: validated, serialisable, and enough to measure it again."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.options import About
from danmax_bluesky.parsing import is_mapping, nearest
from danmax_bluesky.reprs import changed_arguments
from danmax_bluesky.tomography.sequences import AngleList, AngleSequence, Interlaced, Linear
from danmax_bluesky.tomography.translations import Helical, Places

FIELDS = ("get_dark", "get_flat", "get_ortho", "get_flat_after", "get_dark_after", "return_to_start")
"""The six options in the order of the digits of `fields_flag`. This is the only place that knows the order."""

ScanType = Literal["ascan", "ascanct", "dscan", "dscanct", "timescan"]
OF_ANGLES = ("ascan", "ascanct", "dscan", "dscanct")
"""The types of scan in which frames are taken at angles that were chosen."""
LONGEST_S = 4000.0
"""A row of the sequencer counts microseconds in 32 bits, that is 4294 s."""
LONGEST_WAIT_S = 86400.0
FURTHEST_DEG = 1e6
MOST_FRAMES = 10_000_000

WAY, EXPOSURES, FLATS, PHASES = "The scan", "Exposures", "Darks and flats", "What is measured"
ANGLES, PLACES, SLICES = "Order of the angles", "Translations", "Slices"
"""The groups of the options, in the words of the reference page."""


class TomoScan(BaseModel):
    """A tomography scan with every parameter.

    It refuses what cannot be measured anywhere; what this beamline cannot measure is for the preflight to say. This is
    the only description of the scan's parameters: command line, configurator, control system, queue, signature of
    `tomo_scan` and reference page are made from its fields (see `danmax_bluesky.options`). A new parameter is a field
    here, and what the plan does with it.

    `scan.model_dump(mode="json")` stands in the start document, `TomoScan.model_validate(...)` gives the scan back.

    Raises:
        ScanError: on construction, with every wrong parameter, its value, its limit and the way out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    scan_type: Annotated[ScanType, About(WAY, usual="ascanct")] = Field(
        description="ascan and dscan stop at every angle, ascanct and dscanct do not; timescan takes frames in time, "
        "with rotation at rest or turning freely; dscan and dscanct count from where rotation stands"
    )
    rot_mot: Annotated[str, About(WAY, device_kind="motor")] = Field(
        default="tom_ry", min_length=1, description="rotation motor"
    )
    scan_start: Annotated[float, About(WAY, "deg")] = Field(
        default=0.0, ge=-FURTHEST_DEG, le=FURTHEST_DEG, description="first angle"
    )
    scan_end: Annotated[float, About(WAY, "deg")] = Field(
        default=180.0, ge=-FURTHEST_DEG, le=FURTHEST_DEG, description="last angle of one turn"
    )
    nsteps: Annotated[int, About(WAY, usual=1800)] = Field(
        ge=0, le=MOST_FRAMES, description="INTERVALS of one turn: n of them give n + 1 projections"
    )
    exp_time: Annotated[float, About(WAY, "s", usual=0.01)] = Field(
        ge=1e-6, le=LONGEST_S, description="exposure of one projection"
    )
    latency: Annotated[float, About(EXPOSURES, "s")] = Field(
        default=0.0,
        ge=0,
        le=LONGEST_S,
        description="dead time between exposures, at least the detector's own",
    )
    tomo_det: Annotated[
        tuple[str, ...], About(EXPOSURES, word="det", accepts="Sequence[str] | str", device_kind="detector")
    ] = Field(default=(), description="2D detectors by name; empty takes the active ones")
    npt_fields: Annotated[int, About(FLATS)] = Field(
        default=20, ge=0, le=1_000_000, description="number of dark frames, and of flat frames"
    )
    npt_darks: Annotated[int | None, About(FLATS, unset=-1)] = Field(
        default=None, ge=0, le=1_000_000, description="number of dark frames, where it is not npt_fields"
    )
    npt_flats: Annotated[int | None, About(FLATS, unset=-1)] = Field(
        default=None, ge=0, le=1_000_000, description="number of flat frames, where it is not npt_fields"
    )
    flat_exp_time: Annotated[float | None, About(FLATS, "s", unset=0.0)] = Field(
        default=None, ge=1e-6, le=LONGEST_S, description="exposure of one flat, where it is not exp_time"
    )
    flats_every: Annotated[int, About(FLATS)] = Field(
        default=0, ge=0, le=MOST_FRAMES, description="take flats again after this many projections; 0 never"
    )
    posflat: Annotated[str, About(FLATS)] = Field(
        default="", description="named position with the sample out of the beam; empty takes the one of the settings"
    )
    flat_angle_deg: Annotated[
        float | None, About(FLATS, "deg", switch=("flat_rotate", "rotate to flat_angle_deg for flats"))
    ] = Field(
        default=None,
        ge=-FURTHEST_DEG,
        le=FURTHEST_DEG,
        description="rotate here before the sample moves out for flats; without it rotation stays",
    )
    condition: Annotated[
        float | Literal["stable"],
        About(FLATS, "s", low=0, high=LONGEST_WAIT_S, switch=("condition_stable", "wait until the beam is stable")),
    ] = Field(default=0.0, description="wait after the shutter opens for flats; stable waits for the beam monitor")
    tori_name: Annotated[str, About(SLICES, word="tori")] = Field(
        default="default", min_length=1, description="settings file of the reconstruction; none makes no slices"
    )
    center: Annotated[Literal["auto", "tori"], About(SLICES)] = Field(
        default="auto", description="where the centre of rotation comes from"
    )
    get_dark: Annotated[bool, About(PHASES)] = Field(default=True, description="dark frames before")
    get_flat: Annotated[bool, About(PHASES)] = Field(default=True, description="flat frames before")
    get_ortho: Annotated[bool, About(PHASES)] = Field(
        default=True, description="a frame every 90 degrees on the way back"
    )
    get_flat_after: Annotated[bool, About(PHASES)] = Field(default=True, description="flat frames after")
    get_dark_after: Annotated[bool, About(PHASES)] = Field(default=True, description="dark frames after")
    return_to_start: Annotated[bool, About(PHASES)] = Field(
        default=True, description="rotate back to where rotation stood"
    )
    fields_flag: Annotated[str, About(PHASES, usual="1" * len(FIELDS), pattern="[01]{6}")] = Field(
        default="", description=f"{len(FIELDS)} digits 0 or 1, the options {', '.join(FIELDS)} in this order"
    )
    angles: Annotated[
        AngleSequence,
        About(ANGLES, only_for=OF_ANGLES, accepts="AngleSequence | Sequence[float] | str", example="golden"),
    ] = Field(
        default=Linear(),
        description="order in which the angles are taken: linear, interlaced, golden, van_der_corput, or a list",
    )
    turns: Annotated[int, About(ANGLES, only_for=OF_ANGLES)] = Field(
        default=1, ge=1, le=100_000, description="how often the range is passed"
    )
    back_and_forth: Annotated[bool, About(ANGLES, only_for=OF_ANGLES)] = Field(
        default=False, description="each turn is a sweep of its own, every second one backwards"
    )
    velocity_deg_s: Annotated[float, About(ANGLES, "deg/s", only_for=("timescan",))] = Field(
        default=0.0, ge=-1e4, le=1e4, description="rotation turns freely at this speed; 0 leaves it at rest"
    )
    every_position: Annotated[bool, About(ANGLES, only_for=("ascanct", "dscanct"))] = Field(
        default=False, description="trigger on every position, not in time"
    )
    helical: Annotated[
        Helical | None,
        About(
            PLACES,
            only_for=OF_ANGLES,
            accepts="Helical | Mapping[str, Any] | str | None",
            example="tom_sam_y:0.5",
        ),
    ] = Field(default=None, description="a translation that goes with the rotation: motor:millimetres in one turn")
    places: Annotated[
        Places | None,
        About(
            PLACES,
            accepts="Places | Line | Mapping[str, Any] | str | None",
            example="tom_sam_y:0:0.5:4,tom_sam_x:0:1:3",
        ),
    ] = Field(
        default=None,
        description="a vertical or mosaic series, one scan at each place: motor:start:step:number in millimetres, for "
        "several motors the slowest first, with commas between them",
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What a repr says: the parameters that differ from the usual ones."""
        return changed_arguments(self, super().__repr_args__())

    if not TYPE_CHECKING:  # the type checker keeps the signature that pydantic derives from the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ScanError("\n".join(_sentence(problem) for problem in error.errors())) from None

    @model_validator(mode="before")
    @classmethod
    def _one_truth_about_the_options(cls, values: Any) -> Any:
        if not is_mapping(values) or values.get("fields_flag") in ("", None):
            return values
        flag = str(values["fields_flag"])
        if isinstance(values["fields_flag"], int):
            flag = flag.zfill(len(FIELDS))
        if len(flag) != len(FIELDS) or set(flag) - {"0", "1"}:
            raise ScanError(
                f"fields_flag = {values['fields_flag']!r}: must be six digits 0 or 1 as text, in the order "
                f"{', '.join(FIELDS)}; '111111' asks for everything"
            )
        merged = dict(values)
        for name, digit in zip(FIELDS, flag, strict=True):
            given = merged.setdefault(name, digit == "1")
            if isinstance(given, bool) and given != (digit == "1"):
                raise ScanError(
                    f"{name} = {given} contradicts fields_flag = {flag!r}, whose digit {FIELDS.index(name) + 1} says "
                    f"{name} = {digit == '1'}; give one of the two"
                )
        return {**merged, "fields_flag": flag}

    @field_validator("tomo_det", mode="before")
    @classmethod
    def _one_detector_is_a_tuple(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("condition")
    @classmethod
    def _a_wait_is_not_negative(cls, value: float | str) -> float | str:
        if isinstance(value, float) and not 0 <= value <= LONGEST_WAIT_S:
            raise ValueError(f"must be 'stable', or seconds from 0 to {LONGEST_WAIT_S:g}")
        return value

    @model_validator(mode="after")
    def _it_can_be_measured(self) -> Self:
        problems = list(_contradictions(self))
        if problems:
            raise ScanError("\n".join(problems))
        object.__setattr__(self, "fields_flag", "".join(str(int(getattr(self, name))) for name in FIELDS))
        return self

    @property
    def is_relative(self) -> bool:
        """True if the angles are added to where rotation stands."""
        return self.scan_type in ("dscan", "dscanct")

    @property
    def is_continuous(self) -> bool:
        """True if rotation turns during the exposures at a speed that follows from the angles."""
        return self.scan_type in ("ascanct", "dscanct")

    @property
    def is_timed(self) -> bool:
        """True if the frames are taken in time, without regard to the rotation."""
        return self.scan_type == "timescan"

    @property
    def wants_flats(self) -> bool:
        """True if flats are taken before, between or after."""
        return self.get_flat or self.get_flat_after or self.flats_every > 0

    @property
    def n_darks(self) -> int:
        """Number of frames of each dark phase."""
        return self.npt_fields if self.npt_darks is None else self.npt_darks

    @property
    def n_flats(self) -> int:
        """Number of frames of each flat phase."""
        return self.npt_fields if self.npt_flats is None else self.npt_flats

    @property
    def flat_exposure_s(self) -> float:
        """Exposure of a flat, seconds."""
        return self.exp_time if self.flat_exp_time is None else self.flat_exp_time

    @property
    def n_projections(self) -> int:
        """Number of projections at one place."""
        if isinstance(self.angles, AngleList):
            return len(self.angles.angles_deg) * (self.turns if self.back_and_forth else 1)
        if self.back_and_forth and isinstance(self.angles, Linear):
            return (self.nsteps + 1) * self.turns
        return self.nsteps * self.turns + 1

    def range_deg(self, position_deg: float) -> tuple[float, float]:
        """First and last angle of the first turn, degrees, for a scan that begins with rotation at `position_deg`."""
        base = position_deg if self.is_relative else 0.0
        if isinstance(self.angles, AngleList):
            return base + self.angles.angles_deg[0], base + self.angles.angles_deg[-1]
        return base + self.scan_start, base + self.scan_end

    def replaced(self, **changes: Any) -> "TomoScan":
        """The same scan with some parameters changed, validated again.

        A change of one of the six options changes `fields_flag` and the other way round.
        """
        values = self.model_dump()
        if "fields_flag" in changes:
            values = {key: value for key, value in values.items() if key not in FIELDS}
        else:
            del values["fields_flag"]
        return TomoScan(**{**values, **changes})


def _contradictions(scan: TomoScan) -> list[str]:
    """What no beamline can measure, as sentences."""
    problems: list[str] = []
    listed = scan.angles.angles_deg if isinstance(scan.angles, AngleList) else None
    if not scan.is_timed:
        if listed is None and scan.scan_start == scan.scan_end:
            problems.append(
                f"scan_start = scan_end = {scan.scan_end:g} degrees: rotation would not move; give two angles, or "
                "use scan_type 'timescan' for frames at rest"
            )
        if listed is None and scan.nsteps == 0:
            problems.append("nsteps = 0: a scan of angles needs at least 1 interval; use 'timescan' for a single frame")
        if scan.velocity_deg_s:
            problems.append(
                f"velocity_deg_s = {scan.velocity_deg_s:g} belongs to a timescan; in {scan.scan_type} the speed "
                "follows from angles, exp_time and latency; leave it out"
            )
    if listed is not None:
        problems += _list_contradictions(scan, listed)
    elif scan.is_timed and not isinstance(scan.angles, Linear):
        problems.append(f"angles = {scan.angles.kind!r}: a timescan chooses no angles; leave it out")
    scattered = not isinstance(scan.angles, Linear | AngleList)
    span = abs(scan.scan_end - scan.scan_start)
    if scattered and scan.is_continuous and scan.turns > 1 and not scan.back_and_forth and span % 180.0 > 1e-9:
        problems.append(
            f"angles = {scan.angles.kind!r} over {span:g} degrees in {scan.turns} turns: turns that follow each other "
            "without rewinding need a range that is a multiple of 180 degrees; change scan_end, or set back_and_forth"
        )
    if isinstance(scan.angles, Interlaced) and scan.turns == 1:
        problems.append("turns = 1: interlaced angles need at least 2 turns; set turns, or use angles 'linear'")
    for name, wanted, count in (
        ("get_dark", scan.get_dark, scan.n_darks),
        ("get_dark_after", scan.get_dark_after, scan.n_darks),
        ("get_flat", scan.get_flat, scan.n_flats),
        ("get_flat_after", scan.get_flat_after, scan.n_flats),
        ("flats_every", scan.flats_every > 0, scan.n_flats),
    ):
        if wanted and count == 0:
            which = "npt_darks" if "dark" in name else "npt_flats"
            value = getattr(scan, name)
            problems.append(
                f"{name} = {value} asks for frames of which {which} = 0 are to be taken; change one of them"
            )
    if scan.every_position and not scan.is_continuous:
        problems.append(f"every_position belongs to ascanct and dscanct, not to {scan.scan_type}; leave it out")
    if scan.helical and scan.is_timed:
        problems.append("helical needs a scan of angles; use ascanct or dscanct")
    for name, motors in (
        ("helical", (scan.helical.motor,) if scan.helical else ()),
        ("places", scan.places.motors if scan.places else ()),
    ):
        if scan.rot_mot in motors:
            problems.append(f"{name} moves {scan.rot_mot}, which is the rotation of the scan; name a translation")
    if scan.helical and scan.places and scan.helical.motor in scan.places.motors:
        problems.append(f"{scan.helical.motor} is asked to move helically and to the places; use another motor for one")
    duplicates = sorted({name for name in scan.tomo_det if scan.tomo_det.count(name) > 1})
    if duplicates:
        problems.append(f"tomo_det names {', '.join(duplicates)} more than once; name each detector once")
    return problems


def _list_contradictions(scan: TomoScan, angles_deg: tuple[float, ...]) -> list[str]:
    problems: list[str] = []
    if scan.is_timed:
        problems.append("angles: a timescan chooses no angles; leave the list out")
    if scan.nsteps != len(angles_deg) - 1:
        problems.append(
            f"nsteps = {scan.nsteps} contradicts a list of {len(angles_deg)} angles, which has {len(angles_deg) - 1} "
            f"intervals; set nsteps = {len(angles_deg) - 1}"
        )
    if scan.turns > 1 and not scan.back_and_forth:
        problems.append(f"turns = {scan.turns}: a list of angles holds its turns itself; or set back_and_forth")
    steps = [after - before for before, after in itertools.pairwise(angles_deg)]
    if scan.is_continuous and not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        problems.append(
            f"angles: {scan.scan_type} turns in one direction, and the list changes it; sort the list, or step "
            f"with {scan.scan_type.removesuffix('ct')}"
        )
    if scan.is_continuous and len(angles_deg) < 2:
        problems.append(f"angles: {scan.scan_type} needs at least 2 angles; use {scan.scan_type.removesuffix('ct')}")
    return problems


def _sentence(problem: Any) -> str:
    """One problem of pydantic's, told with the parameter, its value, its limit and its meaning."""
    key = ".".join(str(part) for part in problem["loc"]) or "scan"
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        return f"{key} = {problem['input']!r}: a scan has no such parameter; {nearest(name, TomoScan.model_fields)}"
    field = TomoScan.model_fields.get(name)
    meaning = f"; {name} is: {field.description}" if field and field.description else ""
    if problem["type"] == "missing":
        return f"{key} is missing{meaning}"
    text = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{key} = {problem['input']!r}: {text}{meaning}"
