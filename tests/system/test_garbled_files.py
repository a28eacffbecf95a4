"""Whatever stands in a file of somebody else: a value or one error, no traceback, no hang, no full memory."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from danmax_bluesky.testing.garbling import hdf5_files, texts
from danmax_bluesky.testing.readers import READERS, prepared, read_damaged
from danmax_bluesky.testing.sandbox import Sandbox

MOST_S = 60.0  # a busy machine may be slow; a reader that hangs never ends


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(read_damaged, MOST_S) as sandbox:
        yield sandbox


def damage(name, sandbox, folder, inputs):
    path = prepared(name, folder)
    sound = folder.with_name(f"{folder.name}.sound")
    assert sandbox(name, path, sound, []) == "", "the sound file is read"
    errors = []

    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hdf5_files() if READERS[name].kind == "HDF5" else texts())
    def run(damages):
        text = sandbox(name, path, sound, damages)
        if text:
            errors.append(text)
            assert len(text) < 4000

    run()
    return errors


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_gives_a_value_or_one_error(name, sandbox, tmp_path):
    errors = damage(name, sandbox, tmp_path / "files", 200)
    assert errors  # some damage is seen


@pytest.mark.campaign
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", READERS)
def test_two_thousand_damaged_files_give_a_value_or_one_error(name, sandbox, tmp_path):
    assert damage(name, sandbox, tmp_path / "files", 2000)
