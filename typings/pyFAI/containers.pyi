from enum import IntEnum

class ErrorModel(IntEnum):
    """How an error is computed."""

    VARIANCE = 1
    AZIMUTHAL = 3
