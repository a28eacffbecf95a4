"""`danmax tomoscan`: the tomography scan from a shell, in the words that Sardana's macros use."""

import re
import shlex
import sys
from typing import Any

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.cli.values import NumbersCommand

SCAN_TYPES = ("ascan", "ascanct", "dscan", "dscanct", "timescan")


@click.command("tomoscan", cls=NumbersCommand)
@click.argument("scan_type", type=click.Choice(SCAN_TYPES))
@click.argument("rot_mot")
@click.argument("scan_start", type=float)
@click.argument("scan_end", type=float)
@click.argument("nsteps", type=int)
@click.argument("exp_time", type=float)
@click.option("--latency", type=float, default=None, help="dead time between exposures, seconds")
@click.option("--npt-fields", type=int, default=None, help="number of darks, and of flats")
@click.option("--npt-darks", type=int, default=None, help="number of darks, when it differs")
@click.option("--npt-flats", type=int, default=None, help="number of flats, when it differs")
@click.option("--flat-exp-time", type=float, default=None, help="exposure of the flats, seconds, when it differs")
@click.option("--det", "tomo_det", multiple=True, help="2D detector; may be repeated; the active ones when not named")
@click.option("--posflat", default=None, help="name of the position with the sample out of the beam")
@click.option("--condition", default=None, help="seconds to wait after the shutter opens, or `stable`")
@click.option("--tori", "tori_name", default=None, help="name of the reconstruction settings")
@click.option("--center", type=click.Choice(["auto", "tori"]), default=None, help="where the axis of rotation is from")
@click.option(
    "--fields-flag",
    default=None,
    metavar="NNNNNN",
    help="six digits: dark, flat, orthogonal, flat after, dark after, return to start",
)
@click.option("--dry-run", is_flag=True, help="print what the preflight says and the frame table; move nothing")
@click.pass_obj
def command(settings: SettingsSource, dry_run: bool, **arguments: Any) -> None:
    """Measure a tomography: darks, flats, NSTEPS intervals from SCAN_START to SCAN_END, and what FIELDS-FLAG asks for.

    n intervals give n + 1 projections. For example, 1801 projections of 10 ms over 180 degrees:

        danmax tomoscan ascanct tom_ry 0 180 1800 0.01 --sample bone
    """
    given = {key: value for key, value in arguments.items() if value is not None and value != ()}
    if "condition" in given and given["condition"] != "stable":
        given["condition"] = click.FLOAT.convert(given["condition"], None, None)
    run_and_report(
        settings(),
        lambda session: session.plans.tomo_scan(**given, dry_run=dry_run, command=command_line()),
    )


_SECRET = re.compile(r"(api[-_]key[\"']?\s*[=:]\s*).*", re.DOTALL)


def command_line() -> str:
    """The command as it was typed, which every file of a scan tells; a secret in it is struck out."""
    words = ["danmax"]
    for word in sys.argv[1:]:
        struck = "***" if words[-1].endswith(("api-key", "api_key")) else _SECRET.sub(r"\1***", word)
        words.append(struck)
    return shlex.join(words)
