"""`danmax calibrate`: refine a geometry on a frame of a calibrant; convert calibrations of other programs."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.errors import CalibrationError, StorageError
from danmax_bluesky.pipelines.calibrate import calibrate_frame, frame_of, guessed_geometry, write_poni
from danmax_bluesky.pipelines.other_programs import foreign_geometry, read_text
from danmax_bluesky.scattering.calibration_files import saxsdog_json
from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.frames import read_mask
from danmax_bluesky.storage.text_files import write_text

_PATH = click.Path(path_type=Path)


@click.command("calibrate")
@click.argument("frame", type=_PATH)
@click.option("--calibrant", default="CeO2", show_default=True, help="pyFAI's name, or a file of d-spacings in Å")
@click.option("--guess", type=_PATH, help=".poni to begin with")
@click.option("--distance", type=float, help="sample to detector, mm, where there is no .poni")
@click.option("--beam", nargs=2, type=float, help="row and column of the beam, likewise")
@click.option("--energy", type=float, help="keV, likewise; that of the settings if not given")
@click.option("--pixel-um", type=float, help="size of a pixel, µm, likewise")
@click.option("--orientation", type=click.IntRange(1, 4), help="how the image lies in memory, as pyFAI counts")
@click.option("--mask", type=_PATH)
@click.option("--dataset", help="HDF5 path of the frames")
@click.option("--index", type=int, default=0, show_default=True, help="number of the frame")
@click.option("--rings", type=int, help="use so many rings at most")
@click.option("--fix", multiple=True, default=("rot3", "wavelength"), show_default=True, help="parameter that stays")
@click.option("--out", type=_PATH, help=".poni to write; beside the frame if not given")
@click.option(
    "--convert", is_flag=True, help="FRAME is a calibration of SAXSDOG, FIT2D or Nika, or a .poni: convert it"
)
@click.option("--shape", nargs=2, type=int, help="rows and columns of the image, for --convert")
@click.pass_obj
def command(settings: SettingsSource, frame: Path, **options: Any) -> None:
    """Refine a geometry on FRAME, an exposure of a calibrant, and write a .poni with its residuals and a picture.

    \b
    From a guess:     danmax calibrate CeO2.tif --guess old.poni --orientation 2
    From nothing:     danmax calibrate CeO2.tif --distance 200 --beam 530 487 \\
                          --energy 30.5 --pixel-um 172
    Other programs:   danmax calibrate cal.json --convert --out cal.poni
    """  # noqa: D301  click reads \b
    console = screen()
    if options["convert"]:
        console.print(str(_convert(frame, options)), soft_wrap=True)
        return
    image, mask = frame_of(frame, options["dataset"], options["index"])
    if options["mask"]:
        given = read_mask(options["mask"])
        if given.shape != image.shape:
            raise CalibrationError(f"mask {options['mask']} has shape {given.shape}, but the frame has {image.shape}")
        mask = given if mask is None else given | mask
    guess = guessed_geometry(
        image.shape,
        poni=None if options["guess"] is None else read_text(options["guess"]),
        folder=None if options["guess"] is None else options["guess"].parent,
        orientation=options["orientation"],
        distance_mm=options["distance"],
        beam_px=options["beam"],
        energy_kev=options["energy"] or settings().source.energy_kev,
        pixel_um=options["pixel_um"],
    )
    out = options["out"] or frame.with_suffix(".poni")
    if out.exists():
        raise StorageError(f"{out} exists already and is not replaced; choose another name with --out")
    result = calibrate_frame(
        image, guess, options["calibrant"], mask, max_rings=options["rings"], fixed=options["fix"], picture=out
    )
    write_poni(out, result, frame, options["calibrant"])
    _tell(console, result, out)


def _tell(console: Console, result: Any, out: Path) -> None:
    refined = result.refinement
    table = Table("ring", "2theta / degrees", "points", "mean error", "rms error", title="control points")
    for ring in refined.rings:
        table.add_row(
            str(ring.ring),
            f"{ring.two_theta_deg:.4f}",
            str(ring.points),
            f"{ring.mean_deg:+.5f}",
            f"{ring.rms_deg:.5f}",
        )
    console.print(table)
    errors = np.abs([peak.error_deg for peak in result.peaks])
    console.print(
        f"rms error {refined.rms_deg:.5f} degrees (with the guess {refined.before_deg:.5f}); in the pattern "
        f"{len(errors)} lines, {int((errors <= 0.01).sum())} of them within 0.01 degrees",
        highlight=False,
    )
    for text in result.warnings:
        console.print(f"[yellow]{text}[/]", soft_wrap=True, highlight=False)
    console.print(f"{out}\n{out.with_suffix('.png')}", soft_wrap=True, highlight=False)


def _convert(file: Path, options: dict[str, Any]) -> Path:
    shape = options["shape"] or None
    out: Path | None = options["out"]
    if file.suffix == ".poni":
        if shape is None:
            raise CalibrationError("--convert of a .poni needs --shape ROWS COLUMNS")
        geometry = geometry_of_poni(read_text(file), shape, orientation=options["orientation"], folder=file.parent)
        text, ending = saxsdog_json(geometry), ".json"
    else:
        text, ending = foreign_geometry(file, shape, options["pixel_um"]).poni_text(), ".poni"
    path = out or file.with_suffix(ending)
    write_text(path, text, is_ours=lambda _: False)
    return path
