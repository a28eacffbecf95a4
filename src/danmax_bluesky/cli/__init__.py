"""`danmax`: what the session does, from a shell.

Every command is a module of this package with a click command named `command`; it is imported when it is asked for.
Every setting is an option of every command: `--data-root`, `--twin.seed`, `--detectors.orca.width`.

`danmax --help` shall answer at once: what only a command needs, settings and rich's console among it, is imported late.
"""

import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from danmax_bluesky.errors import DanmaxError

if TYPE_CHECKING:
    from danmax_bluesky.config import Settings

COMMANDS = {
    "demo": "measure a tomography and a powder pattern on the simulated beamline, and show the pictures",
    "shell": "an IPython session with RunEngine, plans and devices",
    "tomoscan": "measure a tomography",
    "azcount": "expose the diffraction detector n times and integrate",
    "azscan": "expose the diffraction detector at positions of a motor and integrate",
    "mesh": "map diffraction over two motors",
    "meshct": "the same without stopping in a row",
    "spiral": "map diffraction at the points of a spiral",
    "listscan": "diffraction at the positions of a text file",
    "maplist": "several maps of several samples, a line of a text file each",
    "azprogram": "diffraction while a temperature program runs",
    "newsample": "another sample is in the beam",
    "newfolder": "files of the next scans go to another folder",
    "newvisit": "files of the next scans go to another visit",
    "positions": "named positions, such as the one with the sample out of the beam",
    "live": "a page in the browser that shows what a scan is doing",
    "files": "what a scan wrote, and how to open it",
    "plot": "a picture of what a scan measured",
    "runs": "find runs again by what they were",
    "log": "the scan log of a visit",
    "check": "whether a scan's files are whole",
    "rebuild": "write the derived files of a run again from its documents",
    "dxchange": "export a run as DXchange",
    "copy": "copy a scan with everything it needs, verified",
    "provenance": "which programs did what to a file",
    "rerun": "run an action of a file's provenance again",
    "reconstruct": "slices of a measured tomography, or of any DXchange, NXtomo or HDF5 file",
    "tori": "settings files of reconstructions: make, check and show them",
    "azint": "integrate scans, folders or a whole visit",
    "calibrate": "refine a geometry from a frame of a calibrant",
    "azint-server": "an integration server, controlled over HTTP on loopback",
    "settings": "every setting with its value, environment variable and option",
    "tango-server": "serve the scan parameters as Tango attributes",
    "twin": "the simulated beamline as Tango and PVAccess servers",
}
_COMMON = {"data_root", "proposal", "visit", "folder", "sample"}
_OPTIONS = "danmax_bluesky.options"

SettingsSource = Callable[[], "Settings"]


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(_module(cmd_name)).command
        _accept_settings(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="danmax-bluesky")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Tomography and diffraction at DanMAX, measured with Bluesky.

    Without any settings the beamline is simulated: `danmax demo` shows everything. `danmax COMMAND --help` tells what
    a command takes; `danmax settings` lists what can be set in a file, in the environment, and as an option.
    """
    ctx.obj = _source(ctx)


def main() -> None:
    """The entry point of the `danmax` program: an error is one clear message and exit status 1."""
    # where JupyterLab is installed, jsonschema would import this for 1.5 s, to check identifiers that no document has
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    logging.getLogger("bluesky").addHandler(logging.NullHandler())  # it logs the traceback of what is raised anyway
    warnings = logging.StreamHandler()
    warnings.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger("danmax_bluesky").addHandler(warnings)
    for name in ("bluesky", "danmax_bluesky"):  # a library that configures logging would have it printed twice
        logging.getLogger(name).propagate = False
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except Exception as error:
        ours = _error_of_ours(error)
        if ours is None:
            raise
        from rich.markup import escape

        from danmax_bluesky.screen import screen

        screen(stderr=True).print(f"[bold red]error:[/] {escape(str(ours))}", soft_wrap=True, highlight=False)
        sys.exit(1)


def _module(command: str) -> str:
    return f"{__name__}.{command.replace('-', '_')}"


def _error_of_ours(error: Exception) -> DanmaxError | None:
    """The error of ours that is told in one text, as the prompt tells it; None for a defect, which keeps its traceback.

    What a device said reaches the command line as the failure of a status, which passed it on.
    """
    if isinstance(error, DanmaxError):
        return error
    if "bluesky.utils" not in sys.modules:
        return None
    from bluesky.utils import FailedStatus

    from danmax_bluesky.plans.disconnects import reason_of

    reason = reason_of(error)
    return reason if isinstance(error, FailedStatus) and isinstance(reason, DanmaxError) else None


def settings_over(recorded: Mapping[str, Any] | None) -> "Settings":
    """How another session measured, with everything on top of it that file, environment and options say now."""
    from danmax_bluesky.config import load_settings, repeated

    options = dict(click.get_current_context().meta.get(_OPTIONS, {}))
    return load_settings(options.pop("settings", None), options, None if recorded is None else repeated(recorded))


def _source(ctx: click.Context) -> SettingsSource:
    """Read the settings once, when a command first asks for them."""
    loaded: list[Settings] = []

    def settings() -> "Settings":
        if not loaded:
            from danmax_bluesky.config import load_settings

            options = dict(ctx.meta.get(_OPTIONS, {}))
            loaded.append(load_settings(options.pop("settings", None), options))
        return loaded[0]

    return settings


def _accept_settings(command: click.Command) -> None:
    """Let a command, and those below it, take every setting as an option."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _accept_settings(child)
        return
    taken = {name for parameter in command.params for name in parameter.opts}
    for option in _setting_options():
        if not taken & set(option.opts):
            command.params.append(option)


def _setting_options() -> Iterator[click.Option]:
    from danmax_bluesky.config import setting_keys

    def remember(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            key = "settings" if parameter.name == "settings_file" else str(parameter.metavar)
            ctx.meta.setdefault(_OPTIONS, {})[key] = value

    def several(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
        for assignment in value:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise click.BadParameter(f"{assignment!r} is not key=value", ctx, parameter)
            ctx.meta.setdefault(_OPTIONS, {})[key] = text

    yield click.Option(
        ["--settings", "settings_file"],
        metavar="FILE",
        help="settings file, TOML or YAML",
        expose_value=False,
        callback=remember,
    )
    yield click.Option(
        ["--set", "assignments"],
        metavar="KEY=VALUE",
        multiple=True,
        expose_value=False,
        callback=several,
        help="any setting, such as twin.seed=3; `danmax settings` lists them",
    )
    for key, description in setting_keys():
        yield click.Option(
            [f"--{key.replace('_', '-')}", f"setting_{key.replace('.', '__')}"],
            metavar=key,
            help=description or None,
            hidden=key not in _COMMON,
            expose_value=False,
            callback=remember,
        )
