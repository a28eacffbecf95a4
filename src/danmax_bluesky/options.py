"""What a model says of its fields, for everything that shows them or asks for them.

A scan, a recipe and the settings of a reconstruction are pydantic models. Each of their fields is an option, and is
described once, where it is declared: type, default, limits and a sentence of help by pydantic's `Field`, the rest by an
`About` in its annotation. Command lines, forms of the queue, control system attributes, signatures and reference pages
are made from the `Option` values that this module reads from the model. So a new option is one edit.
"""

import dataclasses
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

PLAIN = (bool, int, float, str)
"""The types of which a single value is one word."""


class Required:
    """Stands for the default of an option that somebody has to give."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = Required()


@dataclass(frozen=True)
class About:
    """What is said of a field beside what pydantic's `Field` says of it.

    Attributes:
        group: heading under which the option stands on a reference page.
        unit: of the value, in UDUNITS spelling; "" for none.
        usual: value with which a form begins, where that is not the default of the field.
        low: smallest number, where the type of the field cannot say so.
        high: largest number, likewise.
        pattern: regular expression that a text has to match as a whole.
        word: name of the option on a command line, without dashes, where it is not that of the field.
        unset: plain number that stands for None where nothing else can be stored.
        switch: name of a second parameter, true or false, that tells whether the value counts, where only plain values
            can be stored; and what it is for.
        only_for: types of scan that the option belongs to; empty for all.
        accepts: what else may be given for it, as Python writes the type.
        choices: the texts that are allowed, where the type of the field does not say so.
        example: how it is given on a command line, where that cannot be guessed.
        device_kind: "motor" or "detector" if the value is the name of such a device; "" if it is no name of a device.
            A plan may then take the device itself too; the option is its name.
    """

    group: str = ""
    unit: str = ""
    usual: Any = None
    low: float | None = None
    high: float | None = None
    pattern: str = ""
    word: str = ""
    unset: int | float | None = None
    switch: tuple[str, str] | None = None
    only_for: tuple[str, ...] = ()
    accepts: str = ""
    choices: tuple[str, ...] = ()
    example: str = ""
    device_kind: Literal["", "motor", "detector"] = ""


@dataclass(frozen=True)
class Option:
    """One option: what a form, a command line or a page has to know of it.

    Attributes:
        name: of the field, or of the parameter of a plan.
        annotation: its type, without pydantic's metadata but what reads short forms of the value.
        default: its value when nobody gives one; `REQUIRED` if somebody has to.
        help: what it means, a sentence without a full stop.
        about: its group, unit and the like.
        low: smallest number that is allowed, or None.
        high: largest number that is allowed, or None.
        is_needed_text: an empty text is refused.
        is_low_excluded: the number has to be above `low`.
    """

    name: str
    annotation: Any
    default: Any = REQUIRED
    help: str = ""
    about: About = About()
    low: float | None = None
    high: float | None = None
    is_needed_text: bool = False
    is_low_excluded: bool = False

    @property
    def word(self) -> str:
        """Name of the option on a command line, without the two dashes in front."""
        return self.about.word or self.name.replace("_", "-")

    @cached_property
    def members(self) -> tuple[Any, ...]:
        """The types of which the value may be, without None."""
        return tuple(item for item in union_members(self.annotation) if item is not type(None))

    @property
    def kind(self) -> Any:
        """bool, int, float, str, Literal or tuple; None where the value is of several types, or of its own."""
        if len(self.members) != 1:
            return None
        origin = get_origin(self.members[0])
        return origin if origin in (Literal, tuple) else self.members[0] if self.members[0] in PLAIN else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The texts that are allowed, where only these are; empty for any value."""
        return self.about.choices or (tuple(get_args(self.members[0])) if self.kind is Literal else ())

    @property
    def is_required(self) -> bool:
        """True if somebody has to give a value."""
        return self.default is REQUIRED

    @property
    def is_switch(self) -> bool:
        """True if the option is true or false."""
        return self.kind is bool

    @property
    def optional_annotation(self) -> Any:
        """The type of the value, or None where nothing is given."""
        return self.annotation if type(None) in union_members(self.annotation) else self.annotation | None

    @property
    def sentence(self) -> str:
        """What the option means, with its unit and its limits."""
        more: list[str] = [self.about.unit.replace("deg", "degrees")] if self.about.unit else []
        more += [f"{self.low:.12g} to {self.high:.12g}"] if self.high is not None and self.low is not None else []
        if self.high is None and self.low is not None:
            more += [f"above {self.low:.12g}" if self.is_low_excluded else f"{self.low:.12g} or more"]
        more += [f"{', '.join(map(str, self.choices))}"] if self.choices else []
        more += [f"for {', '.join(self.about.only_for)}"] if self.about.only_for else []
        return f"{self.help.removesuffix('.')} ({'; '.join(more)})" if more else self.help

    def with_default(self, default: Any) -> "Option":
        """The same option with another value when nobody gives one."""
        return dataclasses.replace(self, default=default)

    def value_of(self, text: str) -> Any:
        """The value that a word of a command line stands for; the word itself if it stands for none.

        "none" stands for None where the option may be left out. The limits are not looked at: who takes the value tells
        of them.
        """
        if text.lower() == "none" and type(None) in union_members(self.annotation) and str not in self.members:
            return None
        try:
            return TypeAdapter(self.annotation).validate_python(text)
        except ValidationError:
            return text


def options_of(model: type[BaseModel]) -> tuple[Option, ...]:
    """The options of a model, in the order of its fields."""
    return tuple(option_of(name, field) for name, field in model.model_fields.items())


def option_of(name: str, field: FieldInfo, default: Any = ...) -> Option:
    """The option that a field of a model, or the annotation of a parameter, describes.

    Args:
        name: of the option.
        field: what pydantic knows of it.
        default: of the option; an ellipsis takes the default of the field.
    """
    about = next((item for item in field.metadata if isinstance(item, About)), About())
    low, high, length, excluded = about.low, about.high, 0, False
    for item in field.metadata:
        low = getattr(item, "ge", getattr(item, "gt", low))
        high = getattr(item, "le", getattr(item, "lt", high))
        length = getattr(item, "min_length", length)
        excluded = excluded or hasattr(item, "gt")
    if default is ...:
        default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
    help_text = " ".join((field.description or "").split())
    annotation = bare(field.annotation)
    if about.device_kind:  # what is typed is its name
        annotation = tuple[str, ...] if get_origin(annotation) in (tuple, Sequence) else str
    is_needed_text = annotation is str and length > 0
    if readers := [item for item in field.metadata if isinstance(item, BeforeValidator)]:
        annotation = Annotated[annotation, *readers]  # which take short forms of the value
    return Option(name, annotation, default, help_text, about, low, high, is_needed_text, excluded)


def bare(annotation: Any) -> Any:
    """A type without the metadata of its outermost `Annotated`."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The types that a union is made of; of any other type, the type itself."""
    annotation = bare(annotation)
    if get_origin(annotation) not in (Union, types.UnionType):
        return (annotation,)
    return tuple(member for item in get_args(annotation) for member in union_members(item))


def by_name(options: Iterable[Option]) -> dict[str, Option]:
    """Name -> option."""
    return {option.name: option for option in options}


def by_word(options: Iterable[Option]) -> dict[str, Option]:
    """Every spelling of an option on a command line, without dashes in front -> option."""
    return {spelling: option for option in options for spelling in (option.word, option.name.replace("_", "-"))}
