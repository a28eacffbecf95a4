"""Translations that go with a rotation scan: small frozen values that compose.

A `Helical` moves while the sample turns. A `Line` is a set of places, `Line * Line` a mosaic of them, and
`places * n` visits the same places n times: each place is a scan of its own, sharing darks and flats.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import from_json

from danmax_bluesky.options import About

Millimetres = Annotated[float, Field(allow_inf_nan=False)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _in_words(model: type[BaseModel], value: Any) -> Any:
    """The fields of a model from one word, as a command line has it: values with colons between them, or JSON.

    Raises:
        ValueError: there are more or fewer values than the model has fields.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return from_json(value)
    fields, words = list(model.model_fields), [word.strip() for word in value.split(":")]
    if len(words) != len(fields):
        raise ValueError(f"give {len(fields)} values with colons between them, {':'.join(fields)}")
    return dict(zip(fields, words, strict=True))


class Helical(_Value):
    """A translation proportional to the rotation, relative to where the motor stands when the scan begins."""

    motor: str = Field(min_length=1, description="translation that goes with the rotation, such as tom_sam_y")
    pitch_mm: Annotated[float, About(unit="mm")] = Field(
        ge=-1e4, le=1e4, description="its travel in one turn of 360 degrees; the sign is the direction"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, value: Any) -> Any:
        """Accept "tom_sam_y:0.5"."""
        return _in_words(cls, value)

    def offset_mm(self, turned_deg: float) -> float:
        """Millimetres travelled after the rotation turned by this angle, always counted as positive turning."""
        return self.pitch_mm * abs(turned_deg) / 360.0


class Line(_Value):
    """Equally spaced places of one motor, relative to where it stands: offsets start, start + step, ..."""

    motor: str = Field(min_length=1)
    start: Millimetres = 0.0
    step: Millimetres = Field(description="distance between neighbours, millimetres")
    num: int = Field(ge=1, le=10_000, description="number of places")

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, value: Any) -> Any:
        """Accept "tom_sam_y:0:0.5:4"."""
        return _in_words(cls, value)

    def offsets_mm(self) -> tuple[float, ...]:
        """The places, millimetres."""
        return tuple(self.start + index * self.step for index in range(self.num))

    def __mul__(self, other: "Line | Places | int") -> "Places":
        return Places(lines=(self,)) * other


class Places(_Value):
    """The product of lines: the last line is the fastest, and turns back in every row if `snake`.

    A vertical series is one line, a mosaic is two: `Line(motor="tom_sam_y", ...) * Line(motor="tom_sam_x", ...)`.
    """

    lines: tuple[Line, ...] = Field(min_length=1, max_length=4)
    snake: bool = True
    repeats: int = Field(default=1, ge=1, description="how often all places are visited")

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, value: Any) -> Any:
        """Accept a single line, and "tom_sam_y:0:0.5:4,tom_sam_x:0:1:3"."""
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return {"lines": value.split(",")}
        return {"lines": (value,)} if isinstance(value, Line) else _in_words(cls, value)

    @model_validator(mode="after")
    def _each_motor_has_one_line(self) -> Self:
        twice = sorted({name for name in self.motors if self.motors.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands in two lines; give each motor one line")
        return self

    @property
    def motors(self) -> tuple[str, ...]:
        """The motors, the slowest first."""
        return tuple(line.motor for line in self.lines)

    def __len__(self) -> int:
        count = self.repeats
        for line in self.lines:
            count *= line.num
        return count

    def __mul__(self, other: "Line | Places | int") -> Self:
        if isinstance(other, int):
            return self.model_copy(update={"repeats": self.repeats * other})
        more = (other,) if isinstance(other, Line) else other.lines
        repeats = 1 if isinstance(other, Line) else other.repeats
        return type(self)(lines=self.lines + more, snake=self.snake, repeats=self.repeats * repeats)

    def offsets_mm(self) -> tuple[dict[str, float], ...]:
        """Motor -> offset of every place, millimetres, in the order of the visits."""
        return tuple(place for _ in range(self.repeats) for place in self._walk(self.lines, reverse=False))

    def _walk(self, lines: tuple[Line, ...], reverse: bool) -> Iterator[dict[str, float]]:
        first, *rest = lines
        offsets = first.offsets_mm()[::-1] if reverse else first.offsets_mm()
        for row, offset in enumerate(offsets):
            if not rest:
                yield {first.motor: offset}
                continue
            for place in self._walk(tuple(rest), reverse=self.snake and row % 2 == 1):
                yield {first.motor: offset, **place}


class Travel(_Value):
    """How one translation accompanies the exposures of one phase, relative to where the motor stood at the start.

    Attributes:
        motor: its name.
        start_mm: offset at the middle of the first exposure.
        end_mm: offset at the middle of the last exposure.
    """

    kind: Literal["travel"] = "travel"
    motor: str
    start_mm: float
    end_mm: float
