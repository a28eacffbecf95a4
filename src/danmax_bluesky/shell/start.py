"""Puts a session into an IPython shell."""

import asyncio
import logging
import textwrap
import threading
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
from bluesky.utils import FailedStatus, PlanHalt, RequestAbort, RequestStop, RunEngineInterrupted
from ophyd_async.core import NotConnectedError
from rich.console import Console

from danmax_bluesky.callbacks.guard import Guard
from danmax_bluesky.devices.configurator import make_configurator
from danmax_bluesky.devices.disconnects import format_missing_devices
from danmax_bluesky.errors import DanmaxError, DeviceError, SettingsError
from danmax_bluesky.plans.disconnects import reason_of
from danmax_bluesky.plans.engine import Engine
from danmax_bluesky.plans.interrupts import end_on_signals
from danmax_bluesky.plans.user import plan_names
from danmax_bluesky.screen import screen
from danmax_bluesky.session import Session
from danmax_bluesky.shell.live_display import LiveView
from danmax_bluesky.shell.magics import WORDS, Magics
from danmax_bluesky.shell.metadata import StoredMetadata
from danmax_bluesky.shell.runs import catalog_namespace

NAME = "DanMAX"
CONNECT_S = 20.0


def install(shell: Any, session: Session, console: Console | None = None) -> None:
    """Give a shell the session: names, magics, tables, metadata that stay, and errors that say what to do.

    Args:
        shell: an IPython InteractiveShell.
        session: connected.
        console: where tables are printed; None takes standard output.
    """
    console = console or screen()
    session.metadata = StoredMetadata(session.paths.visit.state / "md.json", session.metadata)
    session.show_progress()
    session.RE.subscribe(Guard(LiveView(plots=_may_plot(shell)), "live view"))
    shell.push({**namespace(session), **catalog_namespace(session, console)})
    Magics(session, console).register(shell)
    shell.set_custom_exc((DanmaxError, FailedStatus, RunEngineInterrupted), _explain)
    logging.getLogger("bluesky").addFilter(_is_no_explained_error)
    session.at_end(end_on_signals(session.RE, getattr(shell, "ask_exit", lambda: None)))
    threading._register_atexit(session.close)  # type: ignore[attr-defined]  # noqa: SLF001  while threads may still begin
    _begin_live(session)
    console.print(banner(session), highlight=False, soft_wrap=True, markup=False)


def _begin_live(session: Session) -> None:
    """Serve the live page, if the settings say so; a prompt is there without it too."""
    if session.settings.live.start:
        try:
            session.live()
        except (SettingsError, OSError) as error:
            logging.getLogger(__name__).warning("%s", error)


def namespace(session: Session) -> dict[str, Any]:
    """Names at the prompt: session, RE, every plan, every device, and bluesky's own plans as bp and bps."""
    plans = {name: getattr(session.plans, name) for name in plan_names()}
    words = {name: getattr(session, name) for name in ("newsample", "newfolder", "newvisit")}
    return {"session": session, "RE": session.RE, "bp": bp, "bps": bps, **words, **plans, **devices(session)}


def devices(session: Session) -> dict[str, Any]:
    """Every device of the beamline by its name, and the configurator with the scan parameters.

    Raises:
        DeviceError: the settings name a Tango device for the configurator, and it does not answer.
    """
    address = session.settings.configurator
    if address:
        from danmax_bluesky.devices.tango.configurator import tango_configurator

        configurator = tango_configurator(address)
        session.at_end(lambda: session.RE.loop.call_soon_threadsafe(configurator.close))
    else:
        configurator = make_configurator(session.plans.configurator)
    try:
        asyncio.run_coroutine_threadsafe(configurator.connect(), session.RE.loop).result(CONNECT_S)
    except NotConnectedError as error:
        raise DeviceError(
            f"configurator {address} does not answer ({' '.join(str(error).split())}); start `danmax tango-server`, or "
            "leave the setting `configurator` empty"
        ) from error
    return {**session.beamline.devices, configurator.name: configurator}


def banner(session: Session) -> str:
    """What is connected and what is not, where files go, and how to begin."""
    settings, beamline = session.settings, session.beamline
    connected = [name for name in beamline.devices if name not in beamline.missing]
    lines = [
        f"{NAME}, {'the simulated beamline' if beamline.twin else 'beamline'}",
        f"  proposal {settings.proposal}, visit {settings.visit}, sample {settings.sample or 'without a name'}",
        f"  files    go to {session.paths.visit.raw}",
        f"  devices  {', '.join(connected)}",
        f"  plans    {', '.join(plan_names())}",
        *textwrap.wrap(
            f"{' '.join(f'%{word}' for word in WORDS)}; %danmax tells what they take",
            initial_indent="  words    ",
            subsequent_indent=" " * 11,
            width=100,
        ),
        '  begin    RE(tomo_scan("ascanct", "tom_ry", 0, 180, 400, 0.01, npt_fields=10, sample="bone"))',
        "           %tomoscan ascanct tom_ry 0 180 400 0.01 --npt-fields 10 --sample bone",
        '  find     cat[-1]  cat[12]  cat["3c5a1f"]  find_runs(sample="bone")[-1]  runs(since="today")',
        "  help     tomo_scan?",
    ]
    if session.live_address:
        lines.append(f"  live     {session.live_address}")
    lines += [f"  LOOK     {text}" for text in session.left_behind()]
    if beamline.missing:
        lines += ["  NOT connected (%reconnect tries again):", format_missing_devices(beamline.missing)]
    return "\n".join(lines)


def _explain(shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: Any = None) -> None:
    """Our own errors are one text; anything else keeps its traceback."""
    reason = reason_of(error)
    if isinstance(error, RunEngineInterrupted):
        screen(stderr=True).print(_what_now(shell), highlight=False, soft_wrap=True, markup=False)
    elif isinstance(reason, DanmaxError):
        screen(stderr=True).print(f"error: {reason}", style="bold red", highlight=False, soft_wrap=True, markup=False)
    else:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def _what_now(shell: Any) -> str:
    """What has become of a plan that was interrupted."""
    engine: Engine = shell.user_ns["RE"]
    if engine.state == "paused":
        return "paused: RE.resume() goes on, RE.abort() ends the scan; what was measured is kept either way"
    if not engine.has_measured:
        return "stopped; nothing was measured"
    return "the scan was ended; what was measured is kept"


def _is_no_explained_error(record: logging.LogRecord) -> bool:
    """False for what the RunEngine logs about an error that the prompt explains."""
    error = record.exc_info[1] if record.exc_info else None
    asked_for = isinstance(error, RequestAbort | RequestStop | PlanHalt)
    return error is None or not (asked_for or isinstance(reason_of(error), DanmaxError))


def _may_plot(shell: Any) -> bool:
    """True where a plot is seen: the shell has an event loop of a graphical toolkit."""
    return bool(getattr(shell, "active_eventloop", None))
