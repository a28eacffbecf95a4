"""What a plan takes, read from its signature, its docstring, and the description of what it passes on.

A prompt, a command line and a queue ask here, so that a parameter of a plan is written down once.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from danmax_bluesky.options import REQUIRED, Option, by_name, option_of, options_of

PlanT = TypeVar("PlanT", bound=Callable[..., Any])
NOT_TYPED = frozenset({"md", "per_step", "per_shot"})
"""Parameters whose values no word can stand for: mappings and functions."""
_REST = inspect.Parameter.VAR_KEYWORD
_NAMED = inspect.Parameter.KEYWORD_ONLY


def takes_options_of(model: type[BaseModel]) -> Callable[[PlanT], PlanT]:
    """Decorates a plan that hands its `**parameters` on to a model: they get names, types and help.

    `inspect.signature`, the annotations and the docstring of the plan then say of each option of the model what its
    description says. A parameter that the plan names itself, and that is an option too, gets its type from there.

    Args:
        model: whose options they are.
    """

    def decorate(plan: PlanT) -> PlanT:
        options = by_name(options_of(model))
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(plan).parameters.values():
            if parameter.kind is _REST:
                named = {item.name for item in parameters}
                parameters += [
                    inspect.Parameter(name, _NAMED, default=None, annotation=option.optional_annotation)
                    for name, option in options.items()
                    if name not in named
                ]
            elif parameter.name in options:
                parameters.append(parameter.replace(annotation=options[parameter.name].optional_annotation))
            else:
                parameters.append(parameter)
        signature = inspect.signature(plan).replace(parameters=parameters)
        annotations = {name: value.annotation for name, value in signature.parameters.items() if name != "self"}
        plan.__signature__ = signature  # type: ignore[attr-defined]
        plan.__annotations__ = {**annotations, "return": plan.__annotations__.get("return")}
        plan.__doc__ = _documented(plan.__doc__ or "", options)
        plan.model = model  # type: ignore[attr-defined]
        return plan

    return decorate


def options_of_plan(plan: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of a plan, in the order of its signature; "self" is none."""
    model = getattr(plan, "model", None)
    described_by_model = by_name(options_of(model)) if model else {}
    help_of = described(plan)
    options = []
    for parameter in inspect.signature(plan, eval_str=True).parameters.values():
        if parameter.name == "self":
            continue
        default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        field = FieldInfo.from_annotation(parameter.annotation)
        field.description = field.description or help_of.get(parameter.name, "")
        option = described_by_model.get(parameter.name)
        options.append(option_of(parameter.name, field, default) if option is None else option.with_default(default))
    return tuple(options)


def positional(plan: Callable[..., Any]) -> Iterator[tuple[str, bool]]:
    """Names of the parameters that may be given without their names, and whether any number of values may follow."""
    for parameter in inspect.signature(plan).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            yield parameter.name, True
        elif parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and parameter.name != "self":
            yield parameter.name, False


def first_line(plan: Callable[..., Any]) -> str:
    """What a plan does, in one sentence."""
    return " ".join((inspect.getdoc(plan) or "").split("\n\n")[0].split())


def described(plan: Callable[..., Any]) -> dict[str, str]:
    """Argument -> what its docstring says of it."""
    text = inspect.getdoc(plan) or ""
    section = re.search(r"^Args:\n(?P<body>(?:[ ].*\n?|\n)+)", text, flags=re.MULTILINE)
    sentences: dict[str, str] = {}
    name = ""
    for line in section["body"].splitlines() if section else ():
        item = re.fullmatch(r" {4}(\w+): (.*)", line)
        if item:
            name = item[1]
            sentences[name] = item[2].strip()
        elif name and line.strip():
            sentences[name] += f" {line.strip()}"
    return sentences


def _documented(docstring: str, options: dict[str, Option]) -> str:
    """A docstring in which the line of `parameters` is replaced by a line for each option that it lacks."""
    text = inspect.cleandoc(docstring) + "\n"
    line = re.search(r"^ {4}parameters: .*\n", text, flags=re.MULTILINE)
    if line is None:
        return text
    lines = [f"    {o.name}: {o.sentence}.\n" for o in options.values() if f"\n    {o.name}: " not in text]
    return text[: line.start()] + "".join(lines) + text[line.end() :]
