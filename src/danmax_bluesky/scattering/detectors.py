"""Which detector a calibration is for, as pyFAI makes it: its pixels, its gaps, its sensor, and its distortion.

pyFAI's detectors can be changed after they were made, and some read files. So a calibration keeps what they are made
from, which is a value, and makes one anew where it is needed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyFAI.detectors import Detector, NexusDetector, detector_factory

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.parsing import is_mapping, shown

FILE_KEYS = ("filename", "splinefile")
"""Keys of a `Detector_config` that name a file: of a NeXus detector, and of a distortion as a spline."""


@dataclass(frozen=True)
class DetectorModel:
    """What pyFAI makes a detector from.

    Attributes:
        name: pyFAI's name of its class, such as "Pilatus2M".
        config: JSON text of the other arguments, as in the line `Detector_config` of a `.poni`, without orientation.
    """

    name: str
    config: str = "{}"

    def arguments(self) -> dict[str, Any]:
        """The content of `config`."""
        return dict(json.loads(self.config))

    def files(self) -> tuple[Path, ...]:
        """Files that the detector is read from."""
        return tuple(Path(value) for key, value in self.arguments().items() if key.lower() in FILE_KEYS and value)

    def make(self, orientation: int) -> Detector:
        """A new detector of pyFAI.

        Args:
            orientation: how the image lies in memory, 1 to 4.

        Raises:
            CalibrationError: pyFAI does not know the detector, or cannot make it so.
        """
        for file in self.files():
            if not file.is_file():
                raise CalibrationError(
                    f"the calibration needs {file}, which describes the detector {self.name}, but that is no file; "
                    "put it back, or correct its name in Detector_config"
                )
        try:
            detector = detector_factory(self.name, {**self.arguments(), "orientation": orientation})
        except Exception as error:  # pyFAI raises whatever its readers raise
            raise CalibrationError(
                f"pyFAI cannot make the detector {self.name!r} with {self.config}: {type(error).__name__}: "
                f"{_first_line(error)}; correct Detector and Detector_config"
            ) from None
        if int(detector.orientation) != orientation:
            raise CalibrationError(f"pyFAI's detector {self.name!r} has orientation {int(detector.orientation)} alone")
        return detector


def with_whole_paths(pairs: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """The lines of a `.poni`, with every file that its detector is read from as a whole path.

    Args:
        pairs: the lines, keys in lower case.
        folder: of the `.poni`; a relative path is looked for there, and else where pyFAI looks, in the working folder.

    Raises:
        CalibrationError: `Detector_config` is no JSON object, or such a file does not exist.
    """
    whole = dict(pairs)
    if (file := existing_file(pairs.get("detector", ""), folder)) is not None:  # pyFAI takes a NeXus file for a name
        whole["detector"] = NexusDetector.__name__
        whole["detector_config"] = json.dumps({"filename": str(file)})
    if "detector_config" in whole:
        config = json_object(whole["detector_config"])
        files = {key: value for key, value in config.items() if key.lower() in FILE_KEYS and value}
        whole["detector_config"] = json.dumps({**config, **{key: _path_of(files[key], folder) for key in files}})
    elif pairs.get("splinefile", "None").lower() != "none":
        whole["splinefile"] = _path_of(pairs["splinefile"], folder)
    return whole


def model_of_poni(pairs: Mapping[str, str], detector: Detector) -> tuple[DetectorModel, int | None]:
    """What a detector was made from, and the orientation that was stated, None if none was.

    Args:
        pairs: the lines of the `.poni`, keys in lower case.
        detector: what pyFAI made of them.
    """
    if "detector_config" in pairs:
        config = {key: value for key, value in json_object(pairs["detector_config"]).items() if value is not None}
    else:
        config = {key: getattr(detector, key) for key in ("pixel1", "pixel2") if f"pixelsize{key[-1]}" in pairs}
        config |= {"splineFile": detector.splinefile} if detector.splinefile else {}
    stated = config.pop("orientation", None)
    return DetectorModel(type(detector).__name__, json.dumps(config)), int(stated) if stated else None


def json_object(text: str) -> dict[str, Any]:
    """The content of a `Detector_config`.

    Raises:
        CalibrationError: it is no JSON object.
    """
    try:
        config: Any = json.loads(text)
    except ValueError:
        config = None
    if not is_mapping(config):
        raise CalibrationError(
            f".poni cannot be read: Detector_config {shown(text)} is no JSON object; write it again with pyFAI or "
            "`danmax calibrate`"
        )
    return dict(config)


def _path_of(name: Any, folder: Path | None) -> str:
    file = existing_file(str(name), folder)
    if file is None:
        raise CalibrationError(
            f".poni names {name}, which describes the detector, but there is no such file; put it back"
            + (f" into {folder}" if folder else "")
            + ", or correct its name"
        )
    return str(file)


def existing_file(name: str, folder: Path | None) -> Path | None:
    """The file of this name, absolute; None if there is none."""
    try:
        candidates = [Path(name).expanduser()] if folder is None else [folder / name, Path(name).expanduser()]
        return next((candidate.absolute() for candidate in candidates if candidate.is_file()), None)
    except (OSError, ValueError, RuntimeError):  # no name of a file: too long, with a zero in it, of an unknown user
        return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
