"""What a plan takes, read from its signature, its docstring, and the description of what it passes on.

A prompt, a command line and a queue ask here, so that a parameter of a plan is written down once.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from danmax_bluesky.options import REQUIRED, Option, bare, by_name, option_of, options_of

PlanT = TypeVar("PlanT", bound=Callable[..., Any])
NOT_TYPED = frozenset({"md", "per_step", "per_shot"})
"""Parameters whose values no word can stand for: mappings and functions."""
_SECTION = re.compile(r"^Args:\n(?P<body>(?:[ ].*\n?|\n)+)", flags=re.MULTILINE)
_NEXT_SECTION = re.compile(r"^(?:Returns|Yields|Raises):$|\Z", flags=re.MULTILINE)


def takes_options_of(model: type[BaseModel]) -> Callable[[PlanT], PlanT]:
    """Decorates a plan that hands its `**parameters` on to a model: they get names, types and help.

    A parameter that the plan names itself, and that is an option too, is described by the model as well.

    Args:
        model: whose options they are.
    """
    return lambda plan: complete(plan, model)


def complete(plan: PlanT, model: type[BaseModel] | None = None) -> PlanT:
    """Let signature, annotations and docstring of a plan say everything that it takes.

    The keywords of `**parameters` stand by their names: those of the model, or of the TypedDict that they are annotated
    with. The docstring gets a line for each parameter: what it says itself, or else what the type of the parameter says
    (see `plans.parameters`). `options_of_plan` has the options then.

    Args:
        plan: a generator function; it is changed.
        model: whose options its keywords are; None if they are no options of a model.
    """
    described_by_model = by_name(options_of(model)) if model else {}
    docstring = inspect.getdoc(plan) or ""
    texts = _argument_texts(docstring)
    parameters, options = [], []
    for parameter in _by_name(plan, described_by_model):
        if parameter.name == "self":
            parameters.append(parameter)
            continue
        default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
        option = described_by_model.get(parameter.name)
        if option is None:
            field = FieldInfo.from_annotation(parameter.annotation)
            field.description = texts.get(parameter.name) or field.description
            option = option_of(parameter.name, field, default)
            annotation = bare(parameter.annotation)
        else:
            option, annotation = option.with_default(default), option.optional_annotation
        options.append(option)
        parameters.append(parameter.replace(annotation=annotation))
    signature = inspect.signature(plan).replace(parameters=parameters)
    annotations = {name: value.annotation for name, value in signature.parameters.items() if name != "self"}
    plan.__annotations__ = {**annotations, "return": plan.__annotations__.get("return")}
    plan.__doc__ = _documented(docstring, options)
    vars(plan).update(__signature__=signature, options=tuple(options), model=model)
    return plan


def options_of_plan(plan: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of a plan that is complete, in the order of its signature; "self" is none."""
    options: tuple[Option, ...] = getattr(plan, "options", ())
    return options


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


def _by_name(plan: Callable[..., Any], of_model: Mapping[str, Option]) -> Iterator[inspect.Parameter]:
    """The parameters of a plan, with the keywords that it passes on by their names."""
    parameters = inspect.signature(plan, eval_str=True).parameters
    for parameter in parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            yield parameter
            continue
        keywords = of_model or get_type_hints(*get_args(parameter.annotation), include_extras=True)
        for name in keywords:
            if name not in parameters:
                annotation = Any if of_model else keywords[name]
                yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _argument_texts(docstring: str) -> dict[str, str]:
    """Argument -> what the docstring says of it."""
    section = _SECTION.search(docstring)
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


def _documented(docstring: str, options: Iterable[Option]) -> str:
    """A docstring whose section `Args` has a line for each option."""
    lines = "".join(f"    {option.name}: {option.sentence.removesuffix('.')}.\n" for option in options)
    rest = _SECTION.sub("", docstring)
    if not lines:
        return rest
    match = _NEXT_SECTION.search(rest)
    assert match is not None  # the end of the text, if there is no section
    before = rest[: match.start()].rstrip("\n")
    return f"{before}\n\nArgs:\n{lines}\n{rest[match.start() :]}".rstrip("\n") + "\n"
