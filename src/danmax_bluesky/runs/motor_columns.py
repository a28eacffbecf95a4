"""Under which data keys a run records its motors: their positions, and the counts of their encoders."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ENCODER = re.compile(r"(mean|min|max|start|end|diff)")


def position_keys(start: Mapping[str, Any]) -> dict[str, str]:
    """Name of each motor that a run moves -> data key under which its position is recorded.

    Both are the same for the motors of the beamline. A device of a user's own may call its position something else,
    such as "furnace-temperature": the hints of the start document name the positions, in the order of the motors.

    Args:
        start: the start document of the run.
    """
    names = [str(motor) for motor in start.get("motors") or ()]
    hints: Mapping[str, Any] = start.get("hints") or {}
    dimensions: Sequence[tuple[Sequence[str], str]] = hints.get("dimensions") or ()
    try:
        hinted = [str(key) for keys, _ in dimensions for key in keys]
    except (TypeError, ValueError):  # a plan of a user's own may write anything there
        hinted = []
    keys = hinted if len(hinted) == len(names) else names
    return {name: name if name in hinted else key for name, key in zip(names, keys, strict=True)}


def wired_motors(start: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The motors that a run moves, and whose encoders are wired to the PandA -> how counts become positions."""
    moved: Sequence[str] = start.get("motors") or ()
    encoders: Mapping[str, Mapping[str, Any]] = start.get("encoders") or {}
    return {motor: wired for motor, wired in encoders.items() if motor in moved}


def units_of(start: Mapping[str, Any], key: str, described: Mapping[str, Any]) -> str:
    """Units of a data key; also of what a detector or the PandA wrote beside its frames, which is declared without.

    Args:
        start: document of the run.
        key: the data key.
        described: as in a descriptor.
    """
    if described.get("units"):
        return str(described["units"])
    if key.endswith("_timestamp") or key.startswith("pcap_ts_"):
        return "s"
    return "counts" if is_encoder_key(start, key) else ""


def is_encoder_key(start: Mapping[str, Any], key: str) -> bool:
    """True for a column in which the PandA captured the counts of a motor's encoder, such as "tom_ry_mean"."""
    motor, _, part = key.rpartition("_")
    wired = {rotation_of(start).get("motor"), *(start.get("encoders") or ())}
    return bool(motor and motor in wired and _ENCODER.fullmatch(part))


def rotation_of(start: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a start document says of the rotation: motor, counts_per_deg, offset_deg; {} if nothing turns."""
    rotation: Mapping[str, Any] | None = start.get("rotation")
    return rotation or {}
