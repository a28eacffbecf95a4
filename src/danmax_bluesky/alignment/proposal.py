"""What an alignment proposes: numbers with their uncertainties, motors to move, files to write, and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from danmax_bluesky.alignment.estimate import Estimate, rounded


@dataclass(frozen=True)
class Quantity:
    """A number that was measured.

    Attributes:
        name: what it is, in words: "rotation axis".
        estimate: the number with its uncertainty.
        units: of both; "" for none.
    """

    name: str
    estimate: Estimate
    units: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.estimate.text(self.units)}"


@dataclass(frozen=True)
class Move:
    """A motor, and where it should stand.

    Attributes:
        motor: its name.
        start: where it stood when the proposal was made, in its units.
        target: where it should stand.
        sigma: uncertainty of the target.
        units: of its position.
    """

    motor: str
    start: float
    target: float
    sigma: float
    units: str = ""

    def __str__(self) -> str:
        place = f"{rounded(self.start, self.sigma)} to {rounded(self.target, self.sigma)}"
        return f"{self.motor} from {place} {self.units}".rstrip()


@dataclass(frozen=True)
class Proposal:
    """What an alignment proposes. Nothing moves, and nothing is replaced, before it is applied.

    Attributes:
        kind: "sample", "axis", "focus", "detector" or "energy".
        scan: stem of the run that was measured for it, such as scan-0007.
        quantities: what was measured.
        moves: motors in the order in which they move; empty if there is nothing to move.
        files: path -> text that is written when the proposal is applied.
        remarks: what the user should know of it, one sentence each.
        picture: PNG that shows it.
    """

    kind: str
    scan: str
    quantities: Sequence[Quantity]
    moves: Sequence[Move] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    picture: Path | None = None

    def __str__(self) -> str:
        lines = [f"{self.scan}: {'; '.join(map(str, self.quantities))}", *self.remarks]
        lines += [f"proposed: move {move}" for move in self.moves]
        lines += [f"proposed: write {path}" for path in self.files]
        return "\n".join([*lines, *([f"picture: {self.picture}"] if self.picture else [])])

    def record(self) -> dict[str, Any]:
        """The same as plain values, for a file."""
        return {
            "kind": self.kind,
            "scan": self.scan,
            "quantities": [
                {
                    "name": quantity.name,
                    "value": quantity.estimate.value,
                    "sigma": quantity.estimate.sigma,
                    "half_width_95": quantity.estimate.half_width,
                    "units": quantity.units,
                }
                for quantity in self.quantities
            ],
            "moves": [
                {
                    "motor": move.motor,
                    "from": move.start,
                    "to": move.target,
                    "sigma": move.sigma,
                    "units": move.units,
                }
                for move in self.moves
            ],
            "files": [str(path) for path in self.files],
            "remarks": list(self.remarks),
            "picture": str(self.picture or ""),
        }
