from typing import Any

import numpy as np
from numpy.typing import NDArray

class FullSplitCSC_2d:
    """The matrix of a cake, its pixels divided with their corners."""

    pos0_min: float
    pos0_max: float
    pos1_min: float
    pos1_max: float
    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]

    def __init__(
        self,
        pos: NDArray[np.floating],
        *,
        bins: tuple[int, int],
        pos0_range: tuple[float, float] | None = None,
        pos1_range: tuple[float, float] | None = None,
        mask: NDArray[np.int8] | None = None,
        mask_checksum: int | None = None,
        allow_pos0_neg: bool = False,
        unit: Any = None,
        chiDiscAtPi: bool = True,
        pos1_period: float = ...,
        orientation: int = 0,
    ) -> None: ...
