"""What can go wrong, told to a person: the thing, the value, the limit, and the way out."""

from collections.abc import Sequence


class DanmaxError(Exception):
    """The root of every error that this package raises on purpose.

    The command line prints its text and exits with status 1; anything else is a defect and keeps its traceback.
    """


class SettingsError(DanmaxError):
    """A settings file, an environment variable or an option holds something that cannot be used."""


class ScanError(DanmaxError):
    """A scan was described that cannot be: a value out of range, or two values that contradict each other."""


class PreflightError(ScanError):
    """The scan is well formed, but this beamline cannot measure it now.

    Attributes:
        findings: every reason found, one sentence each, with its way out.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(findings)
        lines = "\n".join(f"  {number}. {finding}" for number, finding in enumerate(self.findings, 1))
        super().__init__(f"nothing was moved; the preflight found {len(self.findings)} problem(s):\n{lines}")


class DeviceError(DanmaxError):
    """A device does not answer, or refuses what it was asked."""


class AcquisitionError(DanmaxError):
    """The measurement itself failed: frames are missing, a camera stalled, the beam was lost."""


class StorageError(DanmaxError):
    """A file cannot be written or read: it exists, it is missing, the disk is full, the content is damaged."""


class FormatError(DanmaxError):
    """A file or a configuration was read, and does not hold what its format asks for."""


class CalibrationError(DanmaxError):
    """A geometry, a mask or a calibrant cannot be used for the frames at hand."""


class AlignmentError(DanmaxError):
    """What was measured does not tell where something stands: there is no peak, no feature, or too much noise."""


class CatalogError(DanmaxError):
    """The catalogue cannot be reached, or does not hold the run that was asked for."""
