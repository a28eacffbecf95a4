"""`danmax dxchange`: a run as DXchange."""

from importlib.resources import as_file, files
from pathlib import Path

import click

from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journal_of
from danmax_bluesky.errors import FormatError
from danmax_bluesky.formats.dxchange import Export
from danmax_bluesky.formats.dxchange_configuration import SCHEMA_NAME, load_configuration
from danmax_bluesky.formats.tree import Copying
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import ended_record_of
from danmax_bluesky.storage.recovery import healed, recover


@click.command("dxchange", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--detector", "detectors", multiple=True, help="only this one; may be given several times")
@click.option("--copy", "copied", is_flag=True, help="copy the frames, so that the file can travel alone")
@click.option(
    "--order",
    type=click.Choice(["theta:y:x", "y:theta:x"]),
    default="theta:y:x",
    show_default=True,
    help="with --copy: projections, or sinograms, one after the other",
)
@click.option("--chunks", metavar="N,N,N", help="with --copy: shape of a chunk in that order; one image by default")
@click.option(
    "--compression",
    type=click.Choice(["keep", "bitshuffle-lz4", "gzip", "none"]),
    default="keep",
    show_default=True,
    help="with --copy",
)
@click.option(
    "--volume-deg",
    type=click.FloatRange(0, min_open=True),
    help="cut the projections into volumes of so many degrees: exchange_1, exchange_2, ...",
)
@click.option("--volume", type=click.IntRange(1), help="with --volume-deg: only this volume, as /exchange")
@click.option("--config", type=click.Path(dir_okay=False, path_type=Path), help="configuration file (JSON)")
@click.option("--print-config", is_flag=True, help="print the configuration that would be used, to begin one's own")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="another file than the usual one")
@click.pass_obj
def command(
    settings: SettingsSource,
    scan: str | None,
    detectors: tuple[str, ...],
    copied: bool,
    order: str,
    chunks: str | None,
    compression: str,
    volume_deg: float | None,
    volume: int | None,
    config: Path | None,
    print_config: bool,
    out: Path | None,
) -> None:
    """Write the DXchange file of a run, as tomopy, dxchange, httomo, algotom and tomocupy read it.

    Frames are linked, not copied, unless --copy is given. What the file holds is told by a configuration: begin your
    own with --print-config; an editor completes and checks it by its schema.
    """
    if not copied and (order != "theta:y:x" or chunks or compression != "keep"):
        raise click.UsageError("--order, --chunks and --compression say how to copy; give --copy too")
    if volume and not volume_deg:
        raise click.UsageError("--volume needs --volume-deg, which says how long a volume is")
    now = settings()
    configuration = load_configuration(config or now.formats.dxchange_configuration)
    if print_config:
        with as_file(files("danmax_bluesky.formats").joinpath(SCHEMA_NAME)) as schema:
            own = configuration.model_copy(update={"schema_": schema.absolute().as_uri()})
        click.echo(own.model_dump_json(by_alias=True, exclude_defaults=True, indent=2))
        return
    copying = Copying(order, _chunks(chunks), compression) if copied else None
    record = healed(recover(ended_record_of(journal_of(now, scan))))
    paths = write_dxchange(
        record,
        configuration,
        detectors=detectors or None,
        export=Export(copying, volume_deg, volume),
        out=out.absolute() if out else None,
    )
    if not paths:
        raise FormatError(f"{record.files.stem} turned no sample: it has no projections for a DXchange file")
    for path in paths:
        screen().print(str(path), soft_wrap=True, highlight=False)


def _chunks(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.replace(" ", "").split(",")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r}: three positive numbers, such as 1,512,2048", param_hint="--chunks")
    return tuple(int(part) for part in parts)
