"""The start document of a run: every key that this package writes or reads, its type, and who says it.

Every file of a scan is made from this document and those that follow it. A plan of your own gets right files if its
start document has the keys that are said by the plan and fit it; the session and the settings say theirs in any case.
A run may have any other key beside these; it is kept, and stands in the files as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, TypedDict, get_origin, get_type_hints

Author = Literal["RunEngine", "session", "settings", "plan", "plan or you", "you"]


class Key(NamedTuple):
    """What a key of the start document is for.

    Attributes:
        author: who says it; what the RunEngine, the session, the settings or a plan says, a user may not.
        meaning: in one sentence, with units.
    """

    author: Author
    meaning: str


class Rotation(TypedDict):
    """How counts of the rotation's encoder become angles: angle_deg = counts / counts_per_deg + offset_deg."""

    motor: str
    counts_per_deg: float
    offset_deg: float
    bits: int


class WiredMotor(TypedDict):
    """How the mean count that the PandA captured becomes a position: counts / counts_per_unit + offset."""

    counts_per_unit: float
    offset: float
    bits: int
    units: str


class SegmentPlan(TypedDict):
    """What was planned for one stream of frames; `plans` add more, as the descriptor of the stream does."""

    name: str
    kind: str
    num: int
    exposure_s: NotRequired[float]
    period_s: NotRequired[float]
    motion: NotRequired[str]
    angles_deg: NotRequired[Sequence[float]]
    first_deg: NotRequired[float]
    last_deg: NotRequired[float]
    parked_deg: NotRequired[float]
    speed_deg_s: NotRequired[float]
    travels: NotRequired[Sequence[Mapping[str, Any]]]
    may_end_early: NotRequired[bool]
    instead_of: NotRequired[str]


class RunStart(TypedDict, total=False):
    """The start document."""

    uid: Required[Annotated[str, Key("RunEngine", "unique identifier of the run")]]
    time: Required[Annotated[float, Key("RunEngine", "when the run began, seconds since 1970, UTC")]]
    scan_id: Annotated[int, Key("session", "number of the scan in its visit; its files are called scan-0001...")]
    data_root: Annotated[str, Key("settings", "folder above all proposals")]
    proposal: Annotated[str, Key("settings", "name of the proposal")]
    visit: Annotated[str, Key("settings", "name of the visit")]
    folder: Annotated[str, Key("settings", "folder below raw/ and process/ that the scan's files are in")]
    beamline: Annotated[str, Key("settings", 'name of the beamline; "twin" is the simulated one')]
    source: Annotated[
        Mapping[str, Any], Key("settings", "the beam: name, instrument, energy_kev, ring_current_ma, ...")
    ]
    users: Annotated[Sequence[Mapping[str, Any]], Key("you", "the people of the visit, each with a name")]
    sample: Annotated[Mapping[str, Any], Key("you", "the sample: its name, and what else is said of it")]
    versions: Annotated[Mapping[str, str], Key("session", "package -> version of the programs that measure")]
    plan_name: Annotated[str, Key("plan or you", "name of the plan")]
    command: Annotated[str, Key("plan or you", "how the plan was called, as it was typed")]
    call: Annotated[Mapping[str, Any], Key("plan", "plan and arguments, by which `danmax rerun` calls it again")]
    scan: Annotated[Mapping[str, Any], Key("plan", "of a tomography: every parameter, as in `TomoScan`")]
    detectors: Annotated[Sequence[str], Key("plan", "names of the detectors that are armed")]
    motors: Annotated[Sequence[str], Key("plan", "names of the motors that the plan moves")]
    segments: Annotated[
        Sequence[SegmentPlan],
        Key("plan", "what is planned for each stream of frames, in order; its presence marks a scan of this package"),
    ]
    series: Annotated[
        Mapping[str, Any],
        Key("plan", "of a scan at several places: index, of, offsets_mm, and the run that took the flats and darks"),
    ]
    flown: Annotated[Mapping[str, str], Key("plan", "motor -> units, of those that move while frames are taken")]
    recipes: Annotated[
        Sequence[Mapping[str, Any]], Key("settings", "by which the frames are integrated while they come")
    ]
    integrals: Annotated[
        Mapping[str, str],
        Key("plan", 'detector -> how its integrals come: in its "events", or by a "monitor" beside the frames'),
    ]
    monitor: Annotated[str, Key("plan", "data key of the monitor that belongs to each frame")]
    num_points: Annotated[int, Key("plan or you", "number of points of a step scan")]
    shape: Annotated[Sequence[int], Key("plan or you", "of a mesh: rows and columns")]
    snaking: Annotated[
        Sequence[bool], Key("plan or you", "of a mesh: whether each axis turns back in every second row")
    ]
    extents: Annotated[Sequence[Sequence[float]], Key("plan or you", "of a mesh: first and last position of each axis")]
    hints: Annotated[Mapping[str, Any], Key("plan", "dimensions and gridding, as Bluesky has them, for plots")]
    rotation: Annotated[Rotation, Key("settings", "the rotation motor, and how counts of its encoder become angles")]
    encoders: Annotated[
        Mapping[str, WiredMotor],
        Key("settings", "motor -> how the count that the PandA captured as <motor>_mean becomes its position"),
    ]
    capture: Annotated[
        Mapping[str, Any], Key("settings", "which bits of the PandA tell that shutter and beam are there")
    ]
    device_names: Annotated[
        Mapping[str, str], Key("settings", "role (panda, shutter, ring_current, beam_monitor) -> name of its device")
    ]
    channels: Annotated[
        Mapping[str, str], Key("settings", "recorded value -> what it is called in /entry/instrument of the master")
    ]
    environment: Annotated[
        Mapping[str, Mapping[str, Any]],
        Key("settings", "value around the sample -> address, units, and the longest silence between two samples, s"),
    ]
    program: Annotated[
        Mapping[str, Any], Key("plan", "what a value around the sample was set to while the run was measured")
    ]
    descriptions: Annotated[
        Mapping[str, str], Key("settings", "motor, value of the snapshot or around the sample -> what it is")
    ]
    detector_settings: Annotated[
        Mapping[str, Mapping[str, Any]], Key("settings", "detector -> its settings: pixels, magnification, distance")
    ]
    metadata_notes: Annotated[
        Sequence[str], Key("session", "a sentence for each field that could not be recorded as it was given")
    ]


def keys() -> dict[str, tuple[Any, Key]]:
    """Key of the start document -> its type and what it is for, in the order of the class."""
    hints = get_type_hints(RunStart, include_extras=True)
    plain = {name: hint.__args__[0] if get_origin(hint) is Required else hint for name, hint in hints.items()}
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in plain.items()}


def reference() -> str:
    """The table of the reference page docs/reference/start-document.md."""
    lines = ["| key | type | said by | what it is |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {_words(kind)} | {key.author} | {key.meaning} |" for name, (kind, key) in keys().items()]
    return "\n".join(lines) + "\n"


def container_of(kind: Any) -> type | None:
    """Mapping or Sequence for the type of a key that holds several values; None for any other."""
    origin = get_origin(kind) or kind
    if origin is Sequence:
        return Sequence
    return Mapping if origin is Mapping or (isinstance(origin, type) and issubclass(origin, dict)) else None


def _words(kind: Any) -> str:
    return {Mapping: "mapping", Sequence: "list", None: getattr(kind, "__name__", "")}[container_of(kind)]
