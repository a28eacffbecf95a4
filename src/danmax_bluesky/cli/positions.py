"""`danmax positions`: the library of named positions of the visit."""

import asyncio
from datetime import UTC, datetime

import click
from rich.markup import escape
from rich.table import Table

from danmax_bluesky.beamlines.positions import positions_now
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.config import Settings
from danmax_bluesky.devices.flat_positions import (
    FlatPosition,
    FlatPositions,
    PositionError,
    findings,
    position_of,
    ranges_of,
)
from danmax_bluesky.devices.paths import VisitPaths
from danmax_bluesky.screen import screen


@click.group("positions")
def command() -> None:
    """Named positions, such as the one with the sample out of the beam."""


@command.command("list")
@click.pass_obj
def list_positions(settings: SettingsSource) -> None:
    """Every position of the visit, and that of the settings."""
    now = settings()
    library = _library(now)
    table = Table("name", "moves", "rotates first", "usable", "comment", title=f"Positions in {library.folder}")
    for name in ("", *library.names()):
        position = position_of(now, library, name)
        problems = findings(position, ranges_of(now), now.rotation)
        table.add_row(
            position.name, _moves(position), _angle(position), "no" if problems else "yes", escape(position.comment)
        )
    screen().print(table)


@command.command("show")
@click.argument("name")
@click.pass_obj
def show(settings: SettingsSource, name: str) -> None:
    """Where each motor goes in position NAME, and whether it can."""
    now = settings()
    library = _library(now)
    position = position_of(now, library, name)
    console = screen()
    saved = f", saved {position.saved}" if position.saved else ""
    console.print(f"[bold]{position.name}[/]{escape(saved)}  {escape(position.comment)}", highlight=False)
    if position.rotate_first_deg is not None:
        console.print(f"  first {now.rotation} to {position.rotate_first_deg:g} deg", highlight=False)
    units = dict(position.units)
    for number, (motor, value) in enumerate(position.moves, 1):
        console.print(f"  {number}. {motor} to {value:g} {units.get(motor, '')}", highlight=False)
    _refuse(findings(position, ranges_of(now), now.rotation))


@command.command("save")
@click.argument("name")
@click.argument("motors", nargs=-1, required=True, metavar="MOTOR[=POSITION]...")
@click.option("--rotate-first", type=float, default=None, metavar="DEGREES", help="rotate here before anything moves")
@click.option("--comment", default="", help="one line for a person")
@click.option("--replace", is_flag=True, help="replace a position of the same name")
@click.pass_obj
def save(
    settings: SettingsSource,
    name: str,
    motors: tuple[str, ...],
    rotate_first: float | None,
    comment: str,
    replace: bool,
) -> None:
    """Save position NAME: each MOTOR where it stands now, or at MOTOR=POSITION; they move in the order given."""
    now = settings()
    asked = dict(_target(text) for text in motors)
    if len(asked) < len(motors):
        raise click.BadParameter("name a motor once", param_hint="MOTOR")
    here = _standing(now, [motor for motor, value in asked.items() if value is None])
    position = FlatPosition(
        name,
        tuple((motor, here[motor] if value is None else value) for motor, value in asked.items()),
        rotate_first,
        comment,
        tuple((motor, now.motors[motor].units) for motor in asked if motor in now.motors),
        datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _refuse(findings(position, ranges_of(now), now.rotation))
    path = _library(now).save(position, replace)
    screen().print(f"saved {_moves(position)} as {name} in {path}", highlight=False, soft_wrap=True)


@command.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="really delete it")
@click.pass_obj
def delete(settings: SettingsSource, name: str, yes: bool) -> None:
    """Delete position NAME."""
    _library(settings()).delete(name, sure=yes)
    screen().print(f"deleted {name}", highlight=False)


def _library(settings: Settings) -> FlatPositions:
    paths = VisitPaths.of(settings)
    return FlatPositions(paths.positions)


def _standing(settings: Settings, motors: list[str]) -> dict[str, float]:
    """Where motors stand now; asks the beamline, and only if there is something to ask."""
    return asyncio.run(positions_now(settings, motors)) if motors else {}


def _target(text: str) -> tuple[str, float | None]:
    motor, equals, value = text.partition("=")
    try:
        return motor, float(value) if equals else None
    except ValueError:
        raise click.BadParameter(f"{value!r} is no position; write {motor}=1.5", param_hint="MOTOR") from None


def _moves(position: FlatPosition) -> str:
    units = dict(position.units)
    return ", ".join(f"{motor} {value:g} {units.get(motor, '')}".rstrip() for motor, value in position.moves)


def _angle(position: FlatPosition) -> str:
    return "" if position.rotate_first_deg is None else f"{position.rotate_first_deg:g} deg"


def _refuse(problems: tuple[str, ...]) -> None:
    if problems:
        raise PositionError("\n".join(problems))
