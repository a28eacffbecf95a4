"""The options of commands that integrate: one for each key of a recipe, made from its description."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import click
from pydantic import BaseModel

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.options import Option, options_of

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
_KINDS: Mapping[Any, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}


def takes_recipe(command: CommandT) -> CommandT:
    """Decorates a command with an option for each key of a recipe that can be given in words."""
    for option in reversed(recipe_options()):
        command = _option(option)(command)
    return command


def recipe_options(model: type[BaseModel] = RecipeSettings) -> tuple[Option, ...]:
    """The keys of a recipe that can be given in words; the detector is whose files are looked for."""
    return tuple(o for o in options_of(model) if o.name != "detector" and not _has_parts(o))


def recipe_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the options of a command change in a recipe.

    Args:
        given: name -> value of every option of the command; None and () were not given.
    """
    changes = {o.name: given[o.name] for o in recipe_options() if given.get(o.name) not in (None, ())}
    listed = [o.name for o in recipe_options() if _is_list(o) and o.name in changes]
    return changes | {name: tuple(re.split(r"[,\s]+", changes[name].strip())) for name in listed}


def spelling(option: Option) -> str:
    """An option on the command line, as a reference page shows it."""
    if option not in recipe_options():
        return "`--detector`" if option.name == "detector" else ""
    if option.is_switch:
        return f"`--{option.word}`, `--no-{option.word}`"
    return f"`--{option.word}`" + (" (repeated)" if _is_pairs(option) else "")


def _option(option: Option) -> Callable[[CommandT], CommandT]:
    words = [f"--{option.word}/--no-{option.word}" if option.is_switch else f"--{option.word}", option.name]
    more = f", as in {option.about.example}" if option.about.example else ""
    how: dict[str, Any] = {"default": None, "help": f"{option.sentence}{more}"}
    if _is_pair(option) or _is_pairs(option):
        how |= {"nargs": 2, "type": float, "multiple": _is_pairs(option)}
    elif option.choices:
        how |= {"type": click.Choice(option.choices)}
    elif Path in option.members:
        how |= {"type": click.Path(path_type=Path)}
    elif not option.is_switch:
        how |= {"type": _KINDS.get(option.kind, click.STRING)}
    return click.option(*words, **how)


def _items(option: Option) -> tuple[Any, ...]:
    return get_args(option.members[0]) if option.kind is tuple else ()


def _is_list(option: Option) -> bool:
    return _items(option) == (float, ...)


def _is_pair(option: Option) -> bool:
    return _items(option) == (float, float)


def _is_pairs(option: Option) -> bool:
    return len(_items(option)) == 2 and get_origin(_items(option)[0]) is tuple


def _has_parts(option: Option) -> bool:
    return any(isinstance(item, type) and issubclass(item, BaseModel) for item in _items(option))
