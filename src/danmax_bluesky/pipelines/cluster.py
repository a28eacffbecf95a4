"""Frames on the processes of a Dask cluster, patterns back in order.

Each worker opens the detector file and maps the matrix by itself, so that only numbers of frames go out and patterns
come back. The function that integrates is the one that runs in a thread of this process otherwise.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.pipelines.blocks import Block, batches, integrate_blocks
from danmax_bluesky.pipelines.integrator_cache import integrators_of
from danmax_bluesky.pipelines.recipes import prepare, recipe_settings
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.storage.frames import Frames, open_frames

FRAMES_A_TASK = 64
TASKS_A_WORKER = 3
ANSWER_S = 10.0
_KEPT_OPEN = 2


def cluster_client(scheduler: str = "", workers: int = 2) -> AbstractContextManager[Any]:
    """A Dask client: of a scheduler that runs already, or of a cluster of this machine's own that ends with it.

    Args:
        scheduler: address, such as tcp://host:8786; "" starts a local cluster.
        workers: processes of a local cluster.

    Raises:
        SettingsError: Dask's `distributed` is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise SettingsError("several processes need Dask: pip install 'danmax-bluesky[cluster]'") from None
    if scheduler:
        try:
            return Client(scheduler, timeout=ANSWER_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise SettingsError(f"Dask scheduler {scheduler} does not answer: {error}") from error
    quiet: dict[str, Any] = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}  # 8787 may be taken
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **quiet)
    return _Owned(cluster, Client(cluster, set_as_default=False))


class _Owned(AbstractContextManager[Any]):
    """A client whose cluster ends with it."""

    def __init__(self, cluster: Any, client: Any) -> None:
        self._cluster, self._client = cluster, client

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._cluster.close()


def integrate_on_cluster(
    client: Any,
    paths: tuple[Path, ...],
    dataset: str | None,
    settings: RecipeSettings,
    info: ScanInfo,
    numbers: Iterable[int],
) -> Iterator[Block]:
    """Integrate frames on a cluster; blocks come back in order, and only a few are under way.

    Args:
        client: of the cluster.
        paths: files that hold the frames, as every worker sees them.
        dataset: HDF5 path, or None to look for it.
        settings: the recipe.
        info: what is known of the scan.
        numbers: of the frames.
    """
    described = (tuple(str(path) for path in paths), dataset, settings.model_dump_json(), info)
    window = TASKS_A_WORKER * max(1, len(client.scheduler_info()["workers"]))
    under_way: deque[Any] = deque()
    try:
        for block in batches(numbers, FRAMES_A_TASK):
            under_way.append(client.submit(integrate_numbers, *described, block, pure=False))
            while len(under_way) >= window:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def integrate_numbers(
    paths: tuple[str, ...], dataset: str | None, settings_json: str, info: ScanInfo, numbers: np.ndarray
) -> Block:
    """Integrate some frames of a source; what runs in a worker."""
    facts = (info.energy_kev, info.detector_kind, _frozen(info.detector))
    frames, integrators = _opened(paths, dataset, settings_json, *facts)
    parts = list(integrate_blocks(frames, integrators, batches(int(number) for number in numbers)))
    return Block.joined(parts)


@lru_cache(maxsize=_KEPT_OPEN)
def _opened(
    paths: tuple[str, ...],
    dataset: str | None,
    settings_json: str,
    energy_kev: float | None,
    detector_kind: str,
    detector: tuple[tuple[str, Any], ...] | None,
) -> tuple[Frames, Mapping[str, Any]]:
    settings = recipe_settings(json.loads(settings_json))
    files = [Path(path) for path in paths]
    frames = open_frames(files if len(files) > 1 else files[0], dataset)
    described = None if detector is None else dict(detector)
    info = ScanInfo(energy_kev=energy_kev, detector=described, detector_kind=detector_kind)
    prepared = prepare(settings, frames, files[0], info)
    integrators = integrators_of(prepared.recipes)
    return frames, {f"{settings.name}/{name}": integrator for name, integrator in integrators.items()}


def _frozen(detector: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...] | None:
    if detector is None:
        return None
    return tuple((key, detector[key]) for key in ("pixel_size_m", "distance_m") if key in detector)
