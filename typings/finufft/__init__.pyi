"""Of finufft, which has no annotations, what this package uses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class Plan:
    """A plan of one type, number of modes and transforms; points are set, and it is executed any number of times."""

    def __init__(
        self,
        nufft_type: int,
        n_modes_or_dim: int | tuple[int, ...],
        n_trans: int = 1,
        eps: float = 1e-6,
        isign: int | None = None,
        dtype: str = "complex128",
        **kwargs: Any,
    ) -> None: ...
    def setpts(
        self,
        x: NDArray[np.floating] | None = None,
        y: NDArray[np.floating] | None = None,
        z: NDArray[np.floating] | None = None,
    ) -> None: ...
    def execute(
        self, data: NDArray[np.complexfloating], out: NDArray[np.complexfloating] | None = None
    ) -> NDArray[np.complex64]: ...
