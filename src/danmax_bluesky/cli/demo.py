"""`danmax demo`: everything at once, on the simulated beamline."""

import os
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.config import Settings, load_settings
from danmax_bluesky.errors import DanmaxError, StorageError
from danmax_bluesky.pipelines.pictures import save_image, save_pattern
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.scattering.peaks import expected_lines_deg, peak_position_errors
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM
from danmax_bluesky.screen import screen
from danmax_bluesky.session import Session, make_session
from danmax_bluesky.storage.frames import open_frames
from danmax_bluesky.storage.listing import how_to_open
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.tomography.darks_and_flats import PerFrame
from danmax_bluesky.tomography.direct_fourier import reconstruct_slices, sinogram
from danmax_bluesky.tomography.quality import compare_slices
from danmax_bluesky.twin.sources.phantom import truth_slice
from danmax_bluesky.twin.sources.recorded import recorded_angles_deg, recorded_shape

CEO2_WAVELENGTH_A = 0.4066
TOOTH = "tomography/tooth.h5"
CEO2, CEO2_PONI = "powder/CeO2_Pilatus1M.tif", "powder/CeO2_Pilatus1M.poni"


@click.command("demo")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("danmax-demo"), show_default=True)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="DANMAX_TEST_DATA",
    help="folder with recorded measurements, which the twin's detectors replay",
)
@click.option("--quick", is_flag=True, help="fewer exposures, and a clock that does not wait")
@click.pass_obj
def command(settings: SettingsSource, out: Path, data: Path | None, quick: bool) -> None:
    """Measure a tomography and a powder pattern, reconstruct a slice, integrate, and write pictures.

    With --data the detectors replay recorded measurements, a tooth and an exposure of CeO2; without it they look at a
    phantom and at a simulated calibrant.
    """
    console = screen()
    started = time.monotonic()
    recorded = data is not None and (data / TOOTH).exists() and (data / CEO2).exists()
    if data is not None and not recorded:
        console.print(f"{data} holds no recorded measurements; the phantom and a simulated calibrant take their place")
    chosen = demo_settings(settings(), out, data if recorded else None, quick)
    pictures = out.absolute() / "pictures"
    try:
        pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--out {out}: {error.strerror}; choose a folder you may write to") from None
    files: list[Path] = []
    with make_session(chosen) as session:
        session.show_progress(console)
        files += _tomography(session, pictures, console, recorded)
        files += _powder(session, pictures, console, recorded, quick)
    _show_files(console, [*files, *sorted(pictures.glob("*.png"))])
    console.print(f"done in {time.monotonic() - started:.1f} s", highlight=False)


def demo_settings(base: Settings, out: Path, data: Path | None, quick: bool) -> Settings:
    """The settings of the demo: those given, with the data root below `out`, and the recordings replayed."""
    changes: dict[str, Any] = {"data_root": str(out.absolute() / "data"), "folder": "demo", "catalog": {"kind": "off"}}
    if base.beamline != "twin":
        raise DanmaxError("the demo moves everything: it runs on the simulated beamline only; leave `beamline` out")
    if quick:
        changes["twin.clock"] = "fast"
    recipe: dict[str, Any] = {"detector": "pilatus", "unit": "2th_deg", "radial_bins": 3000}
    if data is not None:
        height, width = recorded_shape(data / TOOTH)
        rows, columns = recorded_shape(data / CEO2)
        changes |= {
            "twin.recorded_tomography": str(data / TOOTH),
            "twin.recorded_powder": str(data / CEO2),
            "detectors.orca.height": height,
            "detectors.orca.width": width,
            "detectors.pilatus.height": rows,
            "detectors.pilatus.width": columns,
            "detectors.pilatus.model": "Pilatus 1M",
            "source.energy_kev": KEV_ANGSTROM / CEO2_WAVELENGTH_A,
        }
        recipe |= {"poni": str(data / CEO2_PONI), "orientation": 2}
    changes["recipes"] = [recipe]
    values = base.model_dump(mode="json")
    return load_settings(options={**{key: values[key] for key in values}, **changes})


def _tomography(session: Session, pictures: Path, console: Console, recorded: bool) -> list[Path]:
    if recorded:
        theta = recorded_angles_deg(session.settings.twin.recorded_tomography)  # type: ignore[arg-type]
        first, last, intervals, exposure_s, sample = float(theta[0]), float(theta[-1]), len(theta) - 1, 0.01, "tooth"
    else:
        first, last, intervals, exposure_s, sample = 0.0, 180.0, 400, 0.02, "phantom"
    session.RE(
        session.plans.tomo_scan(
            "ascanct",
            session.settings.rotation,
            first,
            last,
            intervals,
            exposure_s,
            npt_fields=10 if recorded else 20,
            get_ortho=False,
            get_dark_after=False,
            sample=sample,
        )
    )
    session.wait_for_files()
    scan = open_scan(ScanFiles.of(session.last_run or {}).dxchange("orca", alone=True))
    row = scan.frames.sizes["y"] // 2
    kinds = scan.frames, scan.flats, scan.darks
    data, flats, darks = (kind[:, row : row + 1].values for kind in kinds)
    moments = PerFrame(*(kind["time"].values for kind in kinds))
    result = reconstruct_slices(data, flats, darks, scan.angles.values, moments=moments)
    save_image(pictures / "1-raw-frame.png", scan.frames[0].values, f"{sample}: projection at {first:g} degrees")
    lines = sinogram(data, flats, darks, moments=moments)[0]
    save_image(pictures / "2-sinogram.png", lines, f"{sample}: sinogram of row {row}", label="attenuation")
    centre = f"axis at column {result.centre_px:.2f}"
    image = result.volume[0]
    save_image(pictures / "3-slice.png", image, f"{sample}: slice of row {row}, {centre}", label="attenuation a pixel")
    console.print(f"  slice of row {row}: {centre}", highlight=False)
    twin = session.beamline.twin
    if twin and not recorded:
        truth = truth_slice(twin.world.camera_config("orca"), row)
        comparison = compare_slices(image / truth.pixel_mm, truth.attenuation_per_mm)
        console.print(
            f"  against the phantom: correlation {comparison.correlation:.4f}, NRMSE {comparison.nrmse:.4f}, "
            f"axis off by {result.centre_px - truth.axis_column:+.3f} pixels",
            highlight=False,
        )
    return session.files()


def _powder(session: Session, pictures: Path, console: Console, recorded: bool, quick: bool) -> list[Path]:
    calibrant = session.settings.twin.calibrant
    session.RE(session.plans.azint_count(3 if quick else 10, 0.2, sample=calibrant))
    session.wait_for_files()
    scan = ScanFiles.of(session.last_run or {})
    frames = open_frames(scan.detector("pilatus"))
    frame = np.empty(frames.shape, frames.dtype)
    frames.read_into(0, frame)
    frames.close()
    save_image(pictures / "4-diffraction-frame.png", frame, f"{calibrant}: first frame", log=True)
    files = session.files()
    patterns = read_patterns(next(path for path in files if path.name.endswith("_integrated.h5")))
    two_theta, intensity = patterns.radial_axis, np.nanmean(patterns.intensity, axis=0)
    spread = patterns.intensity * 0 if patterns.sigma is None else patterns.sigma
    sigma = np.sqrt(np.nansum(spread**2, axis=0)) / len(spread)
    wavelength_m = KEV_ANGSTROM / session.settings.source.energy_kev * 1e-10
    lines = expected_lines_deg(calibrant, wavelength_m, (float(two_theta[0]), float(two_theta[-1])))
    save_pattern(
        pictures / "5-pattern.png",
        two_theta,
        intensity,
        sigma,
        f"{calibrant}: mean of {len(patterns.intensity)} patterns, and where its lines should be",
        "2theta / degrees",
        lines,
    )
    errors = [abs(peak.error_deg) for peak in peak_position_errors(two_theta, intensity, calibrant, wavelength_m)]
    near = sum(error <= 0.01 for error in errors)
    console.print(
        f"  {calibrant}: {len(errors)} lines found, {near} within 0.01 degrees; "
        f"largest error {max(errors):.4f} degrees, median {np.median(errors):.4f} degrees",
        highlight=False,
    )
    return files


def _show_files(console: Console, files: list[Path]) -> None:
    """One table of what was written: a section for each folder, and how to open each file."""
    table = Table("file", "size", "open it with", title="What was written")
    table.columns[0].overflow = "fold"
    for folder in dict.fromkeys(path.parent for path in files):
        table.add_section()
        table.add_row(f"[bold]{os.path.relpath(folder)}/[/]")
        for path in (path for path in files if path.parent == folder):
            table.add_row(f"  {path.name}", f"{path.stat().st_size / 1e6:.2f} MB", how_to_open(path))
    console.print(table)
