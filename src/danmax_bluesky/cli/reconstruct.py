"""`danmax reconstruct`: slices of a measured tomography."""

import click
from rich.console import Console

from danmax_bluesky.callbacks.reconstruct import jobs_of
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.reconstruct import reconstruct_scan
from danmax_bluesky.storage.journals import ended_record_of


@click.command("reconstruct", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--tori", "tori_name", default="", help="name of a settings file in the visit's .tori/ folder")
@click.option("--center", type=click.Choice(["auto", "tori"]), default=None, help="where the rotation axis is from")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, tori_name: str, center: str | None) -> None:
    r"""Reconstruct a tomography, as the last step of a scan does; a settings file says which rows.

    \b
    A file .tori/bone.toml of the visit, all of it optional:
      rows = "all"          # or "middle", or [first, last + 1, step]
      centre_px = 1023.5    # used with --center tori
      window = "hann"       # ramp, shepp-logan, cosine, hann
      edge_px = 512         # for a sample that is wider than the field
    """
    console = Console()
    journals = journals_of(settings(), scan)
    done = 0
    for journal in journals:
        record = ended_record_of(journal)
        jobs = jobs_of(record, tori_name, center or "")
        if not jobs:
            console.print(
                f"{record.files.master}: left aside: a complete scan with flats, half a turn and no helix is needed;"
                f" this one is {record.status}",
                soft_wrap=True,
                highlight=False,
            )
        for job in jobs:
            console.print(str(reconstruct_scan(job)), soft_wrap=True, highlight=False)
            done += 1
    if not done:
        raise ScanError("there is nothing to reconstruct")
