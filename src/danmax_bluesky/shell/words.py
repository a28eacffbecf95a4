"""Lines that people type, as arguments of a plan: `--npt-fields 20`, `npt_fields=20`, `tom_sam_x 0 2 20 0.1`."""

import re
import shlex
from collections.abc import Callable, Collection
from typing import Any

from danmax_bluesky.errors import ScanError
from danmax_bluesky.options import Option, by_name, by_word
from danmax_bluesky.plans.signature import options_of_plan, positional
from danmax_bluesky.plans.user import Plans

_NUMBERS = {int: "whole number", float: "number"}


def words_of(line: str) -> list[str]:
    """The words of a line, as a shell would take them.

    Raises:
        ScanError: a quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ScanError(f"{line}: {str(error).lower()}; close the quote, or leave it out") from None


def parse(line: str, plan: Callable[..., Any] = Plans.tomo_scan) -> tuple[list[Any], dict[str, Any]]:
    """Words of a command line as positional and named arguments of a plan: `--npt-fields 20`, `npt_fields=20`.

    An option that is true or false may stand alone, `--get-ortho`, and is true then; `--no-get-ortho` is false.

    Args:
        line: what was typed after the name of the plan.
        plan: whose arguments they are.

    Raises:
        ScanError: an option without a value, a word that is no number where one is needed, one word too many, or a
            quote that is not closed.
    """
    options = options_of_plan(plan)
    spelled, named_options = by_word(options), by_name(options)
    values: list[Any] = []
    named: dict[str, Any] = {}
    names = list(positional(plan))
    words = words_of(line)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            key, equals, text = word[2:].partition("=")
            negated = spelled.get(key.removeprefix("no-"))
            if key.startswith("no-") and key not in spelled and negated is not None and negated.is_switch:
                named[negated.name] = False
                continue
            option = spelled.get(key.replace("_", "-"))
            if not equals:
                text = _value_after(key, option, words)
            _name(named, option, key, text)
        elif re.match(r"[A-Za-z_]\w*=", word):
            key, _, text = word.partition("=")
            _name(named, spelled.get(key.replace("_", "-")), key, text)
        else:
            name, repeats = names[0] if names else ("", False)
            if not name:
                takes = ", ".join(option for option, _ in positional(plan))
                raise ScanError(f"{plan.__name__} {line}: {word} is too much; it takes {takes}")
            values.append(_value(named_options[name], word))
            names = names if repeats else names[1:]
    return values, named


def missing(plan: Callable[..., Any], positional_values: Collection[Any], named: Collection[str]) -> list[str]:
    """The names of the arguments that a plan needs and that were not typed."""
    first = [name for name, _ in positional(plan)][: len(positional_values)]
    needed = [option.name for option in options_of_plan(plan) if option.is_required]
    return [name for name in needed if name not in (*first, *named)]


def _value_after(key: str, option: Option | None, words: list[str]) -> str:
    """The word that follows an option, which is taken; "true" for one that stands alone.

    Raises:
        ScanError: there is none.
    """
    is_switch = option is not None and option.is_switch
    if words and not words[0].startswith("--") and (not is_switch or _is_truth(words[0])):
        return words.pop(0)
    if is_switch:
        return "true"
    example = option.about.example if option else ""
    number = option is None or option.kind in _NUMBERS or option.low is not None
    raise ScanError(f"--{key} needs a value, as in --{key} {example or (20 if number else 'bone')}")


def _name(named: dict[str, Any], option: Option | None, key: str, text: str) -> None:
    if option is None:
        named[key.replace("-", "_")] = text
    elif option.kind is tuple:
        named[option.name] = (*named.get(option.name, ()), text)
    else:
        named[option.name] = _value(option, text)


def _value(option: Option, text: str) -> Any:
    value = option.value_of(text)
    if isinstance(value, str) and option.kind in _NUMBERS:
        number = _number(text) if option.kind is int else None
        if number is None or not number.is_integer():
            raise ScanError(f"{option.name}: {text!r} is no {_NUMBERS[option.kind]}")
        return int(number)
    return value


def _number(text: str) -> float | None:
    """The number that a word is, such as "1e3"; None for any other word."""
    try:
        return float(text)
    except ValueError:
        return None


def _is_truth(text: str) -> bool:
    return text.lower() in ("true", "false", "0", "1")
