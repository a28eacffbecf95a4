"""Position capture of the PandA, and the HDF5 file that its data go to."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.twin.encoder import Encoder
from danmax_bluesky.twin.gates import Gates
from danmax_bluesky.twin.monitor import NOMINAL, TRANSMITTED

ROWS_PER_CHUNK = 1024


SHUTTER_BIT, BEAM_BIT = 64, 128
"""Two inputs of the PandA: the fast shutter is open, and there is beam in the ring."""


def capture(
    encoders: Mapping[str, Encoder], gates: Gates, armed_ns: int, is_open: np.ndarray, has_beam: np.ndarray
) -> dict[str, np.ndarray]:
    """One row a gate: dataset -> float64.

    Args:
        encoders: axis -> its encoder; of the first one mean, end and change are captured, of the others the mean.
        gates: that ended.
        armed_ns: when the capture was armed, the origin of `pcap_ts_trig`.
        is_open: for each gate, the shutter was open in its middle.
        has_beam: for each gate, there was beam in its middle.
    """
    (name, first), *others = encoders.items()
    mean, end, change = first.captured(gates.start_ns, gates.end_ns)
    return {
        f"{name}_mean": mean,
        f"{name}_end": end,
        f"{name}_diff": change,
        **{f"{other}_mean": encoder.captured(gates.start_ns, gates.end_ns)[0] for other, encoder in others},
        "pcap_ts_trig": (gates.end_ns - armed_ns) * 1e-9,
        "albaem_ch2": NOMINAL * is_open * has_beam,
        "albaem_ch3": TRANSMITTED * NOMINAL * is_open * has_beam,
        "pcap_bits0": (gates.bits.astype(int) + SHUTTER_BIT * is_open + BEAM_BIT * has_beam).astype(float),
    }


def dataset_names(axes: Sequence[str]) -> list[str]:
    """What a capture of these axes consists of."""
    first, *others = axes
    means = [f"{name}_mean" for name in others]
    own = [f"{first}_{what}" for what in ("mean", "end", "diff")]
    return [*own, *means, "pcap_ts_trig", "albaem_ch2", "albaem_ch3", "pcap_bits0"]


class CaptureFile:
    """The file while it is being written; it can be read at any time (SWMR).

    Args:
        path: of the file, which must not exist.
        names: datasets, float64, at its root.

    Raises:
        StorageError: the file exists, or cannot be made.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self.path = path
        self.rows = 0
        try:
            self._file = h5py.File(path, "x", libver="latest")
        except OSError as error:
            reason = "exists already, and no file is ever overwritten" if path.exists() else f"cannot be made: {error}"
            raise StorageError(f"panda: {path} {reason}; take another scan number or folder") from error
        self._datasets = {
            name: self._file.create_dataset(name, (0,), "<f8", maxshape=(None,), chunks=(ROWS_PER_CHUNK,))
            for name in names
        }
        self._file.swmr_mode = True

    def append(self, columns: Mapping[str, np.ndarray]) -> None:
        """Write rows, readable at once."""
        count = len(next(iter(columns.values())))
        for name, values in columns.items():
            dataset = self._datasets[name]
            dataset.resize(self.rows + count, axis=0)
            dataset[self.rows :] = values
            dataset.flush()
        self.rows += count

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._file.close()
