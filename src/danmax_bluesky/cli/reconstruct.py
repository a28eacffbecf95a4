"""`danmax reconstruct`: slices of a measured tomography."""

import click

from danmax_bluesky.callbacks.dxchange import has_dxchange
from danmax_bluesky.callbacks.reconstruct_slices import jobs_of
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import ScanError
from danmax_bluesky.options import options_of
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.pipelines.slice_process import reconstruct_scan
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import ended_record_of
from danmax_bluesky.tomography.tori import DEFAULT, NONE, ReconstructionSettings


@click.command("reconstruct", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--tori", "tori_name", default="", help="name of a settings file in the visit's .tori/ folder")
@click.option("--center", type=click.Choice(["auto", "tori"]), default=None, help="where the rotation axis is from")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, tori_name: str, center: str | None) -> None:
    """Reconstruct a tomography, as the last step of a scan does; a settings file says which rows."""
    console = screen()
    journals = journals_of(settings(), scan)
    done = 0
    for journal in journals:
        record = ended_record_of(journal)
        jobs = jobs_of(record, tori_name, center or "")
        if not jobs:
            console.print(
                f"{record.files.master}: left aside: {_what_is_missing(record, tori_name)}",
                soft_wrap=True,
                highlight=False,
            )
        for job in jobs:
            console.print(str(reconstruct_scan(job)), soft_wrap=True, highlight=False)
            done += 1
    if not done:
        raise ScanError("there is nothing to reconstruct")


def _what_is_missing(record: RunRecord, tori_name: str) -> str:
    """Which of the things that a reconstruction needs a scan does not have, or who asked for none."""
    if not record.start.get("scan"):
        return f"it is no tomography but {record.start.get('plan_name', 'another plan')}"
    if not record.is_complete:
        return f"it is {record.status}, and only a complete scan is reconstructed"
    if record.start.get("scan", {}).get("helical"):
        return "it is helical: a row of the detector saw another height of the sample at each angle"
    if tori_name == NONE:
        return f"--tori {NONE} asks for no reconstruction; leave it out, or name a settings file"
    if not tori_name and record.start.get("scan", {}).get("tori_name") == NONE:
        return f"it was measured with --tori {NONE}, which asks for no slices; say --tori {DEFAULT} to make them"
    tables = [table for table in read_run(record).tables.values() if has_dxchange(table)]
    if not tables:
        return "it holds no projections of a 2D detector"
    if not any(len(table.of(ImageKey.FLAT)) for table in tables):
        return "it holds no flats, by which projections are divided"
    return "its projections do not cover half a turn"


def _settings_help() -> str:
    """What a settings file may say, for the help of the command."""
    keys = "".join(f"\n\n  {option.name}: {option.sentence}" for option in options_of(ReconstructionSettings))
    return f"A file such as .tori/bone.toml of the visit may say:{keys}"


command.help = f"{command.help}\n\n{_settings_help()}"
