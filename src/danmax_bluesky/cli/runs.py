"""`danmax runs`: find runs again by what they were."""

import json
from dataclasses import asdict
from typing import Any

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.formats.scan_log import LogLine
from danmax_bluesky.pipelines.catalog.client import STATUSES, lines, queries, search
from danmax_bluesky.pipelines.catalog.run_table import table_of
from danmax_bluesky.pipelines.catalog.session_catalog import CatalogService
from danmax_bluesky.screen import screen


@click.command("runs")
@click.option("--sample", help="name of the sample")
@click.option("--proposal", help="of the runs; all by default")
@click.option("--visit", help="of the runs; all by default")
@click.option("--folder", help="below raw/")
@click.option("--scan", metavar="N or A-B", help="scan number, or the first and the last of several")
@click.option("--plan", help="name of the plan, such as tomo_scan")
@click.option("--detector", help="name of a detector that took part")
@click.option("--status", type=click.Choice(STATUSES), help="how the run ended")
@click.option("--since", metavar="TIME", help="2026-11-21, '2026-11-21 13:00', today, or 2h and 3d for ago")
@click.option("--until", metavar="TIME", help="the same; a date includes its whole day")
@click.option("-n", "--last", type=click.IntRange(1), default=20, show_default=True, help="how many, the latest ones")
@click.option("--derived", is_flag=True, help="the runs derived from others, as integrated patterns are, instead")
@click.option("--rescan", is_flag=True, help="look through the data root for runs that the catalogue was never told of")
@click.option("--json", "as_json", is_flag=True, help="print for programs: one JSON list, nothing shortened")
@click.pass_obj
def command(
    settings: SettingsSource,
    scan: str | None,
    last: int,
    derived: bool,
    rescan: bool,
    as_json: bool,
    **asked: str | None,
) -> None:
    """The runs in the catalogue, or those that are all of what is asked for.

    If no session has the catalogue's server running, it is started first, which takes some 15 s.
    """
    now = settings()
    service = CatalogService.of(now)
    wanted = queries(scan=_numbers(scan), derived=derived, **asked)
    console, aside = screen(), screen(stderr=True)
    if rescan:
        adopted = service.adopt()
        aside.print(f"{adopted} run(s) found that the catalogue did not know", highlight=False)
    if service.folder.is_embedded and not service.folder.runs.exists():
        aside.print(f"no run was measured below {now.data_root} with a catalogue", soft_wrap=True, highlight=False)
        if as_json:
            click.echo("[]")
        return
    with aside.status("asking the catalogue"):
        service.start()
        try:
            runs = search(service.connect(), wanted)
            found_lines, total = lines(runs, last, service.said), len(runs)
        finally:
            service.close(wait_s=0.0)
    if as_json:
        click.echo(json.dumps([_as_dict(line) for line in found_lines], indent=2, ensure_ascii=False))
        return
    if not found_lines:
        aside.print("no run is all of that", highlight=False)
        return
    console.print(table_of(found_lines, visits=len({(line.proposal, line.visit) for line in found_lines}) > 1))
    if total > len(found_lines):
        aside.print(f"the latest {len(found_lines)} of {total}; --last shows more", highlight=False)


def _as_dict(line: LogLine) -> dict[str, Any]:
    """A run as a line of the scan log tells of it, and when it began as ISO 8601."""
    return {**asdict(line), "started": line.started().isoformat(timespec="seconds")}


def _numbers(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    try:
        return (int(first), int(last)) if dash else int(first)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no scan number and no range such as 12-15", param_hint="--scan"
        ) from None
