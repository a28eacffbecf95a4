"""How a plan was called: checked before anything moves, written into each run, and read from there to measure again."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import bluesky.preprocessors as bpp
from bluesky.protocols import HasName
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.options import options_of
from danmax_bluesky.parsing import nearest
from danmax_bluesky.plans.bound import BoundPlans
from danmax_bluesky.plans.signature import complete
from danmax_bluesky.plans.user_devices import devices_in

P = ParamSpec("P")
T = TypeVar("T")

_STATED_OTHERWISE = {"self", "detectors", "sample", "command", "dry_run", "configurator", "md"}
"""What a start document says in keys of their own, or what does not belong to the measurement."""
_STEPS = ("per_step", "per_shot")
"""Plans of a user's own, which a start document names only where one was given."""
_EARLIER_NAMES = {"ct": {"exposure_s": "exp_time"}, "ascan": {"exposure_s": "exp_time"}}
"""Plan -> name of a parameter in the runs of earlier versions -> its name now."""


def record_call(plan: Callable[P, MsgGenerator[T]]) -> Callable[P, MsgGenerator[T]]:
    """Decorates a plan of a session: each of its runs says how the plan was called.

    The start document has the arguments as `call`; what stands in it as a value of its own, as the parameters of a
    tomography stand in `scan`, is not repeated. The text of the call stands for `command` where none is given. A
    device may stand for its name; one of a user's own, which stands in no settings, takes part in this plan alone.
    Signature and docstring say everything that the plan takes: see `plans.signature.complete`.

    Raises:
        ScanError: when the plan is called, an argument is unknown, missing or too much; or a device has the name of
            another one.
    """
    if not hasattr(plan, "options"):
        complete(plan)
    signature = inspect.signature(plan)
    model = getattr(plan, "model", None)
    left_out = _STATED_OTHERWISE | ({option.name for option in options_of(model)} if model else set())

    @functools.wraps(plan)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> MsgGenerator[T]:
        session_plans, arguments = args[0], args[1:]
        if isinstance(session_plans, BoundPlans) and (own := tuple(devices_in([*arguments, *kwargs.values()]))):
            session_plans = session_plans._with_devices(own)  # noqa: SLF001  a plan is no method of this name
        named: tuple[Any, ...] = (session_plans, *map(by_name, arguments))
        given: dict[str, Any] = {key: by_name(value) for key, value in kwargs.items()}
        bound = bind(plan, named, given)
        bound.apply_defaults()
        stated = {key: value for key, value in bound.arguments.items() if key not in left_out}
        call = {key: _recordable(value) for key, value in stated.items() if value is not None or key not in _STEPS}
        if "command" in signature.parameters and given.get("command") is None:
            given["command"] = call_text(plan.__name__, named[1:], given)
        started: Any = plan(*named, **given)  # type: ignore[call-arg]
        return bpp.inject_md_wrapper(started, {"call": {"plan": plan.__name__, **call}})  # type: ignore[return-value]

    return recorded


def _recordable(value: Any) -> Any:
    """A function as its name; anything else as it is."""
    return getattr(value, "__qualname__", repr(value)) if callable(value) else value


def by_name(value: Any) -> Any:
    """A device as its name, devices in a list as a tuple of theirs; anything else as it is."""
    if isinstance(value, HasName):
        return value.name
    if isinstance(value, list | tuple) and any(isinstance(item, HasName) for item in value):
        return tuple(map(by_name, value))
    return value


def bind(plan: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    """The arguments of a call by their names.

    Raises:
        ScanError: one is unknown, missing or too much; it names those that the plan takes.
    """
    signature = inspect.signature(plan)
    names = [name for name in signature.parameters if name != "self"]
    for name, value in kwargs.items():
        if name not in names:
            raise ScanError(f"{name} = {value!r}: {plan.__name__} has no such parameter; {nearest(name, names)}")
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ScanError(f"{plan.__name__}: {error}; it takes {', '.join(names)}") from None


def call_text(plan: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """How a plan was called, as Python would have it; what the start document says by itself is left out."""
    words = [repr(value) for value in args]
    words += [f"{name}={value!r}" for name, value in kwargs.items() if name not in _STATED_OTHERWISE]
    return f"{plan}({', '.join(words)})"


def recorded_call(start: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The plan of a run, and the arguments with which it was called; those of `scan` are among them.

    Args:
        start: the start document, of this version or an earlier one.

    Returns:
        name of the plan, "" if the run does not say; and its arguments, {} if the run does not say.
    """
    call = dict(start.get("call") or {})
    scan = start.get("scan")
    name = str(call.pop("plan", None) or (scan and start.get("plan_name")) or "")
    earlier = _EARLIER_NAMES.get(name, {})
    call = {str(earlier.get(key, key)): value for key, value in call.items()}
    if scan and name == "tomo_scan":
        parameters: dict[str, Any] = {key: value for key, value in scan.items() if value is not None}
        return name, {**parameters, **call, "configurator": False}  # what the scan lacked must not come from there
    return name, call
