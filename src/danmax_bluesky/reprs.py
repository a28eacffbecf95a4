"""How values show themselves at a prompt and in a notebook."""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from pydantic import BaseModel, ValidationError

from danmax_bluesky.errors import DanmaxError


def html_table(title: str, rows: Mapping[str, str]) -> str:
    """A table of two columns, as a notebook shows it.

    Args:
        title: above the table.
        rows: what stands on the left -> what stands on the right.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return f'<table><caption style="text-align:left"><b>{escape(title)}</b></caption><tbody>{cells}</tbody></table>'


def changed_arguments(
    model: BaseModel, arguments: Iterable[tuple[str | None, Any]]
) -> Iterator[tuple[str | None, Any]]:
    """The arguments of a model's repr without those that have their default value: what remains makes an equal model.

    Args:
        model: that is shown.
        arguments: as pydantic's `__repr_args__` gives them.
    """
    usual = _usual_values(type(model))
    for name, value in arguments:
        if name not in usual or value != usual[name]:
            yield name, value


def _usual_values(kind: type[BaseModel]) -> dict[str, Any]:
    """The values of the fields that have a default, as they are once they are validated."""
    try:
        return dict(kind())
    except (ValidationError, DanmaxError):  # some fields must be given
        fields = kind.model_fields.items()
        return {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
