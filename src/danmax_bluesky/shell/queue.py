"""The session for a queue server: plans that say what they take, so that a client can build a form for them.

A plan for the queue takes names and numbers only. Its parameters have types, limits, choices and descriptions; those
that are left out keep the plan's own defaults, which for a tomography are the configurator's values.
"""

import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator
from pydantic.fields import FieldInfo

from danmax_bluesky.plans import classic
from danmax_bluesky.plans.user import plan_names
from danmax_bluesky.session import Session
from danmax_bluesky.shell.start import devices
from danmax_bluesky.tomography.scan import TomoScan

Plan = Callable[..., MsgGenerator[Any]]
_NOT_FOR_A_QUEUE = {"command", "dry_run"}
_PLAIN = {bool: "bool", int: "int", float: "float", str: "str"}


@dataclass(frozen=True)
class Argument:
    """One parameter of a plan, as a form shows it.

    Attributes:
        name: of the parameter.
        annotation: type in the queue server's terms.
        description: one line.
        default: what it is when nobody says; `inspect.Parameter.empty` if somebody has to.
        low: smallest number, or None.
        high: largest number, or None.
        choices: name of an enumeration -> its texts.
    """

    name: str
    annotation: str
    description: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: Mapping[str, list[str]] = field(default_factory=dict)

    def as_annotation(self) -> dict[str, Any]:
        """For `parameter_annotation_decorator`."""
        told: dict[str, Any] = {"annotation": self.annotation, "description": self.description}
        told |= {key: value for key, value in (("min", self.low), ("max", self.high)) if value is not None}
        return told | ({"enums": dict(self.choices)} if self.choices else {})


def queue_namespace(session: Session) -> dict[str, Any]:
    """What stands in the worker's namespace: RE, every plan with a description of its parameters, every device."""
    return {"RE": session.RE, **queue_plans(session), **devices(session)}


def queue_plans(session: Session) -> dict[str, Plan]:
    """Every plan of the session for a queue, by its name."""
    plans = {name: getattr(session.plans, name) for name in plan_names()}
    motors, cameras = list(session.beamline.motors), list(session.beamline.cameras)
    queued = {name: _queued(name, plan, list(_arguments(plan, motors, cameras))) for name, plan in plans.items()}
    return queued | _simple_plans(session, motors)


def _simple_plans(session: Session, motors: list[str]) -> dict[str, Plan]:
    def ct(exp_time: float) -> MsgGenerator[str]:
        """One exposure of every active detector."""
        return (yield from classic.ct(session.rig, exp_time, md={"command": f"ct {exp_time:g}"}))

    def ascan(motor: str, start: float, end: float, nsteps: int, exp_time: float) -> MsgGenerator[str]:
        """Stop at nsteps + 1 positions of a motor, and expose every active detector at each."""
        command = f"ascan {motor} {start:g} {end:g} {nsteps} {exp_time:g}"
        return (yield from classic.ascan(session.rig, motor, start, end, nsteps, exp_time, md={"command": command}))

    def mv(motor: str, position: float) -> MsgGenerator[None]:
        """Move a motor."""
        yield from bps.mv(session.rig.motor(motor), position)

    def newsample(name: str) -> MsgGenerator[None]:
        """Another sample is in the beam: its name stands in every scan from now on."""
        yield from bps.null()
        session.newsample(name)

    def newfolder(folder: str) -> MsgGenerator[None]:
        """All files of the scans from now on go to another folder below raw/ and process/."""
        yield from bps.null()
        session.newfolder(folder)

    def newvisit(visit: str, proposal: str = "") -> MsgGenerator[None]:
        """All files of the scans from now on go to another visit."""
        yield from bps.null()
        session.newvisit(visit, proposal)

    needed = inspect.Parameter.empty
    exposure = Argument("exp_time", "float", "exposure, seconds", needed, 1e-6, 4000.0)
    motor = Argument("motor", "Motors", "name of the motor", needed, choices={"Motors": motors})
    ends = [Argument(name, "float", f"{what} position", needed) for name, what in (("start", "first"), ("end", "last"))]
    steps = Argument("nsteps", "int", "intervals: n of them take n + 1 positions", needed, 1, 1_000_000)
    return {
        "ct": _queued("ct", ct, [exposure]),
        "ascan": _queued("ascan", ascan, [motor, *ends, steps, exposure]),
        "newsample": _queued("newsample", newsample, [Argument("name", "str", "name of the sample", needed)]),
        "newfolder": _queued(
            "newfolder", newfolder, [Argument("folder", "str", "may have parts, as in day1/bone", needed)]
        ),
        "newvisit": _queued(
            "newvisit",
            newvisit,
            [
                Argument("visit", "str", "name of the visit", needed),
                Argument("proposal", "typing.Optional[str]", "that it belongs to; the same one if left out"),
            ],
        ),
        "mv": _queued("mv", mv, [motor, Argument("position", "float", "where to move it", needed)]),
    }


def _queued(name: str, plan: Plan, arguments: list[Argument]) -> Plan:
    """A generator function of these arguments; what is None is left to the plan."""
    from bluesky_queueserver import parameter_annotation_decorator

    signature = inspect.Signature(
        [
            inspect.Parameter(item.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=item.default)
            for item in arguments
        ]
    )

    def queued(*positional: Any, **named: Any) -> MsgGenerator[Any]:
        bound = signature.bind(*positional, **named)
        given = {key: value for key, value in bound.arguments.items() if value is not None}
        return (yield from plan(**given))

    queued.__name__ = queued.__qualname__ = name
    queued.__doc__ = first_line(plan)
    queued.__signature__ = signature  # type: ignore[attr-defined]
    described = {
        "description": first_line(plan),
        "parameters": {item.name: item.as_annotation() for item in arguments},
    }
    return parameter_annotation_decorator(described)(queued)


def _arguments(plan: Plan, motors: list[str], cameras: list[str]) -> Iterator[Argument]:
    """The arguments of a plan: from its signature and docstring, and from `TomoScan` for those that it passes on."""
    told = described(plan)
    signature = inspect.signature(plan, eval_str=True)
    named = [item for item in signature.parameters.values() if item.name not in _NOT_FOR_A_QUEUE]
    takes_more = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in named)
    known = {item.name for item in named}
    required: list[Argument] = []
    optional: list[Argument] = []
    for item in named:
        if item.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        scan_field = TomoScan.model_fields.get(item.name) if takes_more else None
        annotation = scan_field.annotation if scan_field else item.annotation
        argument = _argument(item.name, annotation, told.get(item.name, ""), item.default, motors, cameras, scan_field)
        (required if item.default is inspect.Parameter.empty else optional).append(argument)
    yield from required
    yield from optional
    if takes_more:
        for name, scan_field in TomoScan.model_fields.items():
            if name not in known:
                text = scan_field.description or ""
                yield _argument(name, scan_field.annotation, text, None, motors, cameras, scan_field)


def _argument(
    name: str,
    annotation: Any,
    description: str,
    default: Any,
    motors: list[str],
    cameras: list[str],
    scan_field: FieldInfo | None,
) -> Argument:
    low, high = _limits(scan_field)
    choices: dict[str, list[str]] = {}
    if name in ("rot_mot", "motor"):
        kind, choices = "Motors", {"Motors": motors}
    elif name in ("tomo_det", "detectors"):
        kind, choices = "typing.List[Detectors]", {"Detectors": cameras}
    else:
        kind, choices = _type(name, annotation)
    is_needed = default is inspect.Parameter.empty
    if isinstance(default, tuple):
        default = list(default) or None
    text = " ".join((description or (scan_field.description if scan_field else "") or "").split())
    return Argument(name, kind if is_needed else _optional(kind), text, default, low, high, choices)


def _optional(kind: str) -> str:
    return kind if kind == "typing.Any" else f"typing.Optional[{kind}]"


def _type(name: str, annotation: Any) -> tuple[str, dict[str, list[str]]]:
    """The queue server's name of a type, and the enumeration that it needs."""
    if annotation in _PLAIN:
        return _PLAIN[annotation], {}
    members = [item for item in get_args(annotation) if item is not type(None)]
    if get_origin(annotation) is Literal and all(isinstance(item, str) for item in members):
        enumeration = name.title().replace("_", "")
        return enumeration, {enumeration: list(members)}
    if get_origin(annotation) in (Union, types.UnionType):
        if len(members) == 1:
            return _type(name, members[0])
        kinds = [_PLAIN.get(item, "str" if get_origin(item) is Literal else "") for item in members]
        if all(kinds):
            return f"typing.Union[{', '.join(dict.fromkeys(kinds))}]", {}
    return "typing.Any", {}


def _limits(scan_field: FieldInfo | None) -> tuple[float | None, float | None]:
    low = high = None
    for item in scan_field.metadata if scan_field else ():
        low = getattr(item, "ge", getattr(item, "gt", low))
        high = getattr(item, "le", getattr(item, "lt", high))
    return low, high


def first_line(plan: Plan) -> str:
    """What a plan does, in one sentence."""
    return " ".join((inspect.getdoc(plan) or "").split("\n\n")[0].split())


def described(plan: Plan) -> dict[str, str]:
    """Argument -> what its docstring says of it."""
    text = inspect.getdoc(plan) or ""
    section = re.search(r"^Args:\n(?P<body>(?:[ ].*\n?|\n)+)", text, flags=re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section["body"].splitlines() if section else ():
        item = re.fullmatch(r" {4}(\w+): (.*)", line)
        if item:
            name = item[1]
            found[name] = item[2].strip()
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found
