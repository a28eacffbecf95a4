"""Commands that run a plan: their arguments and options are made from what the plan takes."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.cli.values import NumbersCommand
from danmax_bluesky.options import Option
from danmax_bluesky.plans.signature import NOT_TYPED, options_of_plan, positional

_NOT_ON_A_COMMAND_LINE = {"command", "sample", "configurator", *NOT_TYPED}
"""What a plan takes besides: the command itself, what is a setting, and what belongs to a prompt or to Python."""
_NUMBERS: Mapping[Any, click.ParamType] = {int: click.INT, float: click.FLOAT}


class OptionValue(click.ParamType):
    """A word that stands for a value of an option; who takes the value tells of its limits."""

    name = "value"

    def __init__(self, option: Option) -> None:
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that a word stands for."""
        if not isinstance(value, str):
            return value
        converted = self._option.value_of(value)
        if isinstance(converted, str) and self._option.kind in _NUMBERS:
            return _NUMBERS[self._option.kind].convert(value, param, ctx)  # which says what is wrong
        return converted


def plan_command(name: str, plan: Callable[..., Any], text: str) -> click.Command:
    """A command that takes what a plan takes, and runs it in a session of its own.

    Args:
        name: name of the command.
        plan: one of `Plans`.
        text: what `--help` says before the arguments and options.
    """
    first = [option for option, _ in positional(plan)]
    options = [option for option in options_of_plan(plan) if option.name not in _NOT_ON_A_COMMAND_LINE]

    def run(**values: Any) -> None:
        context = click.get_current_context()
        settings: SettingsSource = context.obj
        given = {**_given(context, values), "command": command_line()}
        run_and_report(settings(), lambda session: getattr(session.plans, plan.__name__)(**given))

    params: list[click.Parameter] = [_argument(option) for option in options if option.name in first]
    params += [_option(option) for option in options if option.name not in first]
    return NumbersCommand(name, callback=run, params=params, help=text)


def _given(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed; what was not is left to the plan."""
    typed = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in values.items() if context.get_parameter_source(name) == typed}


def _argument(option: Option) -> click.Argument:
    return click.Argument([option.name], type=_type(option))


def _option(option: Option) -> click.Option:
    help_text = option.sentence if not option.about.example else f"{option.sentence}, as in {option.about.example}"
    if option.name == "dry_run":
        return click.Option(["--dry-run", option.name], is_flag=True, help=help_text)
    if option.is_switch:
        return click.Option([f"--{option.word}/--no-{option.word}", option.name], default=None, help=help_text)
    repeated = option.kind is tuple
    metavar = None if option.choices else (option.kind.__name__ if option.kind in _NUMBERS else "text").upper()
    return click.Option(
        [f"--{option.word}", option.name],
        type=str if repeated else _type(option),
        default=None,
        multiple=repeated,
        metavar=metavar,
        help=f"{help_text}; may be repeated" if repeated else help_text,
    )


def _type(option: Option) -> click.ParamType:
    return click.Choice(option.choices) if option.choices else OptionValue(option)


_SECRET = re.compile(r"(api[-_]key[\"']?\s*[=:]\s*).*", re.DOTALL)


def command_line() -> str:
    """The command as it was typed, which every file of a scan tells; a secret in it is struck out."""
    words = ["danmax"]
    for word in sys.argv[1:]:
        struck = "***" if words[-1].endswith(("api-key", "api_key")) else _SECRET.sub(r"\1***", word)
        words.append(struck)
    return shlex.join(words)
