"""The session for a queue server: plans that say what they take, so that a client can build a form for them.

A plan for the queue takes names and numbers only. Its parameters have types, limits, choices and descriptions; those
that are left out keep the plan's own defaults, which for a tomography are the configurator's values.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from danmax_bluesky.options import PLAIN, Option, union_members
from danmax_bluesky.plans.signature import complete, first_line, options_of_plan, positional
from danmax_bluesky.plans.user import plan_names
from danmax_bluesky.session import Session
from danmax_bluesky.shell.start import devices

Plan = Callable[..., MsgGenerator[Any]]
_NOT_FOR_A_QUEUE = {"command", "dry_run", "per_step", "per_shot"}
_ENUMERATIONS = {"motor": "Motors", "detector": "Detectors"}
"""Kind of a device -> the enumeration of the names of these devices."""


def queue_namespace(session: Session) -> dict[str, Any]:
    """What stands in the worker's namespace: RE, every plan with a description of its parameters, every device."""
    return {"RE": session.RE, **queue_plans(session), **devices(session)}


def queue_plans(session: Session) -> dict[str, Plan]:
    """Every plan of the session for a queue, by its name."""
    plans: dict[str, Plan] = {name: getattr(session.plans, name) for name in plan_names()}
    names = {"Motors": list(session.beamline.motors), "Detectors": list(session.beamline.cameras)}
    return {name: _queued(name, plan, names) for name, plan in (plans | _words(session)).items()}


def _words(session: Session) -> dict[str, Plan]:
    """What is said between two scans, as plans."""

    def newsample(name: str) -> MsgGenerator[None]:
        """Another sample is in the beam: its name stands in every scan from now on.

        Args:
            name: of the sample.
        """
        yield from bps.null()
        session.newsample(name)

    def newfolder(folder: str) -> MsgGenerator[None]:
        """All files of the scans from now on go to another folder below raw/ and process/.

        Args:
            folder: its name; it may have parts, as in day1/bone.
        """
        yield from bps.null()
        session.newfolder(folder)

    def newvisit(visit: str, proposal: str | None = None) -> MsgGenerator[None]:
        """All files of the scans from now on go to another visit.

        Args:
            visit: its name.
            proposal: that it belongs to; the same one if left out.
        """
        yield from bps.null()
        session.newvisit(visit, proposal or "")

    return {plan.__name__: complete(plan) for plan in (newsample, newfolder, newvisit)}


def _queued(name: str, plan: Plan, names: Mapping[str, list[str]]) -> Plan:
    """A generator function with the plan's options as its parameters; what is None is left to the plan."""
    from bluesky_queueserver import parameter_annotation_decorator

    options = sorted(
        (option for option in options_of_plan(plan) if option.name not in _NOT_FOR_A_QUEUE),
        key=lambda option: not option.is_required,
    )
    repeated = {parameter for parameter, repeats in positional(plan) if repeats}
    signature = inspect.Signature([_parameter(option, option.name in repeated) for option in options])

    def queued(*positional_values: Any, **named: Any) -> MsgGenerator[Any]:
        bound = signature.bind(*positional_values, **named)
        arguments = {key: value for key, value in bound.arguments.items() if value is not None}
        more = [value for key in repeated for value in arguments.pop(key, ())]
        first = [arguments.pop(key) for key, _ in positional(plan) if more and key in arguments]
        return (yield from plan(*first, *more, **arguments))

    queued.__name__ = queued.__qualname__ = name
    queued.__doc__ = first_line(plan)
    queued.__signature__ = signature  # type: ignore[attr-defined]
    annotations = {option.name: _annotation(option, names, option.name in repeated) for option in options}
    return parameter_annotation_decorator({"description": first_line(plan), "parameters": annotations})(queued)


def _parameter(option: Option, repeats: bool) -> inspect.Parameter:
    if repeats:
        return inspect.Parameter(option.name, inspect.Parameter.VAR_POSITIONAL)
    default = inspect.Parameter.empty if option.is_required else option.default
    if default == () or (option.about.device_kind and default == ""):
        default = None  # which leaves it to the plan; an enumeration has no empty name
    return inspect.Parameter(option.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def _annotation(option: Option, names: Mapping[str, list[str]], repeats: bool) -> dict[str, Any]:
    """Type, limits, choices and description of a parameter, for `parameter_annotation_decorator`."""
    if enumeration := _ENUMERATIONS.get(option.about.device_kind):
        kind, choices = enumeration, {enumeration: names[enumeration]}
        kind = f"typing.List[{kind}]" if option.kind is tuple else kind
    else:
        kind, choices = _type(option.name, option.annotation)
    if not option.is_required and not repeats and kind != "typing.Any":
        kind = f"typing.Optional[{kind}]"
    limits = {key: value for key, value in (("min", option.low), ("max", option.high)) if value is not None}
    annotation = {"annotation": kind, "description": option.sentence, **limits}
    return annotation | ({"enums": choices} if choices else {})


def _type(name: str, annotation: Any) -> tuple[str, dict[str, list[str]]]:
    """The queue server's name of a type, and the enumeration that it needs."""
    members = [item for item in union_members(annotation) if item is not type(None)]
    if len(members) == 1 and members[0] in PLAIN:
        return members[0].__name__, {}
    if len(members) == 1 and get_origin(members[0]) is Literal:
        enumeration = name.title().replace("_", "")
        return enumeration, {enumeration: list(get_args(members[0]))}
    kinds = ["str" if get_origin(item) is Literal else item.__name__ for item in members if _is_plain(item)]
    if len(kinds) == len(members):
        return f"typing.Union[{', '.join(dict.fromkeys(kinds))}]", {}
    return "typing.Any", {}


def _is_plain(item: Any) -> bool:
    return item in PLAIN or get_origin(item) is Literal
