"""`danmax reconstruct`: slices of a measured tomography."""

import click

from danmax_bluesky.callbacks.dxchange import has_dxchange
from danmax_bluesky.callbacks.reconstruct_slices import jobs_of
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.pipelines.slice_process import reconstruct_scan
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import ended_record_of


@click.command("reconstruct", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--tori", "tori_name", default="", help="name of a settings file in the visit's .tori/ folder")
@click.option("--center", type=click.Choice(["auto", "tori"]), default=None, help="where the rotation axis is from")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, tori_name: str, center: str | None) -> None:
    """Reconstruct a tomography, as the last step of a scan does; a settings file says which rows.

    \b
    A file .tori/bone.toml of the visit, all of it optional:
      rows = "all"          # or "middle", or [first, last + 1, step]
      centre_px = 1023.5    # used with --center tori
      window = "hann"       # ramp, shepp-logan, cosine, hann
      edge_px = 512         # for a sample that is wider than the field
    """  # noqa: D301  click reads \b
    console = screen()
    journals = journals_of(settings(), scan)
    done = 0
    for journal in journals:
        record = ended_record_of(journal)
        jobs = jobs_of(record, tori_name, center or "")
        if not jobs:
            console.print(
                f"{record.files.master}: left aside: {_what_is_missing(record)}",
                soft_wrap=True,
                highlight=False,
            )
        for job in jobs:
            console.print(str(reconstruct_scan(job)), soft_wrap=True, highlight=False)
            done += 1
    if not done:
        raise ScanError("there is nothing to reconstruct")


def _what_is_missing(record: RunRecord) -> str:
    """Which of the things that a reconstruction needs a scan does not have."""
    if not record.start.get("scan"):
        return f"it is no tomography but {record.start.get('plan_name', 'another plan')}"
    if not record.is_complete:
        return f"it is {record.status}, and only a complete scan is reconstructed"
    if record.start.get("scan", {}).get("helical"):
        return "it is helical: a row of the detector saw another height of the sample at each angle"
    tables = [table for table in read_run(record).tables.values() if has_dxchange(table)]
    if not tables:
        return "it holds no projections of a 2D detector"
    if not any(len(table.of(ImageKey.FLAT)) for table in tables):
        return "it holds no flats, by which projections are divided"
    return "its projections do not cover half a turn"
