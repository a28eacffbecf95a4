import os

import numpy as np

from danmax_bluesky.storage.matrices import MatrixCache


def arrays(size: int = 10) -> dict[str, np.ndarray]:
    return {"bins": np.arange(size, dtype=np.uint16), "norm": np.linspace(0, 1, size)}


def test_what_was_kept_comes_back_mapped_from_its_file(tmp_path):
    cache = MatrixCache(tmp_path)
    assert cache.get("a") is None
    cache.put("a", arrays())
    found = cache.get("a")
    assert set(found) == {"bins", "norm"}
    assert np.array_equal(found["bins"], arrays()["bins"])
    assert found["bins"].base is not None


def test_a_folder_that_cannot_be_written_to_caches_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    cache = MatrixCache(tmp_path / "file" / "matrices")
    cache.put("a", arrays())
    assert cache.get("a") is None


def test_what_was_half_written_is_not_there(tmp_path):
    cache = MatrixCache(tmp_path)
    cache.put("a", arrays())
    (tmp_path / "a" / "complete").unlink()
    assert cache.get("a") is None


def test_what_was_not_used_for_longest_is_removed_first(tmp_path):
    cache = MatrixCache(tmp_path, kept_bytes=250_000)
    for age, key in ((30, "old"), (20, "middle")):
        cache.put(key, arrays(10_000))
        os.utime(tmp_path / key / "complete", (1e9 - age, 1e9 - age))
    cache.get("old")
    cache.put("new", arrays(10_000))
    assert {place.name for place in tmp_path.iterdir()} == {"old", "new"}
