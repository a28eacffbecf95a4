"""Where the simulated camera's frames come from: a phantom, a powder, a recorded measurement, or a bank of frames."""

from dataclasses import replace

from danmax_bluesky.twin.sources.bank import Bank, Chunks, Rendered
from danmax_bluesky.twin.sources.base import CameraConfig, Source


def make_source(config: CameraConfig) -> Source:
    """The source that a camera's description asks for.

    Raises:
        DanmaxError: the recording, the calibrant or the geometry cannot be used.
    """
    # imported here so that a camera starts without what another kind of camera needs
    if config.recorded is not None:
        from danmax_bluesky.twin.sources.recorded import RecordedImage, RecordedTomography

        return RecordedTomography(config) if config.kind == "imaging" else RecordedImage(config)
    if config.kind == "counting":
        from danmax_bluesky.twin.sources.powder import PowderSource

        return PowderSource(config)
    from danmax_bluesky.twin.sources.phantom import PhantomSource

    return PhantomSource(config)


def make_chunks(config: CameraConfig) -> Chunks:
    """Encoded frames of that source; with a bank if the description asks for one and nothing recorded is replayed."""
    if config.frame_bank and config.recorded is None:
        return Bank(make_source(replace(config, drift_px=(0.0, 0.0))), config)
    return Rendered(make_source(config))
