"""Every detector that pyFAI can make, integrated by pyFAI and by us from the same `.poni`: how far they lie apart.

Run it as `python benchmarks/bench_detectors.py [MOST_PIXELS]`, 4 million if not given; it takes about a quarter of an
hour. The detectors that are turned over, corrected for parallax or distorted come last. The largest difference of
each splitting is in units of the largest intensity.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.testing.detectors import PYFAI_SPLITTINGS, compare, detector_names, distorted_detector, poni_of

MOST_PIXELS = 4.0e6 * 1.05
"""A "4 Mpx" detector has 2048 x 2048 pixels."""
TURNED = ("Pilatus100k", "Eiger500k", "ImXPadS70", "Xpad_flat", "Jungfrau", "Pixirad1")
SENSOR = {"material": "CdTe", "thickness": 1e-3}
console = Console(width=120)


def cases(most_pixels: float, folder: Path) -> Iterator[tuple[str, str]]:
    """What stands in the table, and the text of a `.poni`."""
    for name in detector_names(most_pixels):
        yield name, poni_of(name)
    for name in TURNED:
        for orientation in (1, 2, 4):
            yield f"{name}, orientation {orientation}", poni_of(name, {"orientation": orientation})
    for name in ("Pilatus100k", "Jungfrau", "ImXPadS70"):
        yield f"{name}, parallax", poni_of(name, {"sensor": SENSOR}, parallax=True)
    for orientation in (1, 2, 4):
        turned = {"sensor": SENSOR, "orientation": orientation}
        yield f"Pilatus100k, parallax, orientation {orientation}", poni_of("Pilatus100k", turned, parallax=True)
    yield "Rayonix at 73 µm", poni_of("RayonixMx225", {"pixel1": 7.3242e-05, "pixel2": 7.3242e-05})
    distorted = distorted_detector(folder / "distorted.h5")
    for orientation in (3, 1, 2, 4):
        text = distorted.replace('"orientation": 3', f'"orientation": {orientation}')
        yield f"distorted NeXus detector, orientation {orientation}", text


def main() -> None:
    """Print the table, and the largest difference in it."""
    logging.disable(logging.CRITICAL)  # pyFAI's
    table = Table("detector", "shape", *PYFAI_SPLITTINGS)
    largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for label, text in cases(float(sys.argv[1]) if len(sys.argv) > 1 else MOST_PIXELS, Path(folder)):
            row, shape = [], ""
            for splitting in PYFAI_SPLITTINGS:
                try:
                    (found,) = compare(text, (splitting,))
                except CalibrationError:
                    row.append("refused")
                    continue
                largest, shape = max(largest, found.difference), str(found.shape)
                row.append(f"{found.difference:.0e}")
            table.add_row(label, shape, *row)
    console.print(table)
    console.print(f"largest difference: {largest:.1e} of the largest intensity")


if __name__ == "__main__":
    main()
