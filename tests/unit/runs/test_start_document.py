from pathlib import Path

import pytest

from danmax_bluesky.config import Settings
from danmax_bluesky.errors import ScanError
from danmax_bluesky.runs.metadata import RESERVED, refuse_reserved, start_metadata
from danmax_bluesky.runs.start_document import keys, reference
from danmax_bluesky.session import _metadata
from danmax_bluesky.testing.compose import start_metadata as composed

PAGE = Path(__file__).parents[3] / "docs/reference/start-document.md"


def test_the_reference_page_has_the_keys_of_the_model():
    assert reference() in PAGE.read_text(encoding="utf-8")


def test_every_key_that_the_session_and_a_tomography_say_is_in_the_model(tmp_path):
    assert set(composed(tmp_path)) <= set(keys())
    assert set(_metadata(Settings())) <= set(keys())


def test_what_a_plan_or_the_settings_say_nobody_else_may_say():
    own = {"plan_name", "command", "sample", "users", "num_points", "shape", "snaking", "extents"}
    assert own == set(keys()) - set(RESERVED)
    with pytest.raises(ScanError, match="device_names"):
        refuse_reserved(["device_names"], "RE.md[{key!r}]")


def test_a_key_of_another_kind_than_the_model_says_is_refused():
    with pytest.raises(ScanError, match=r"device_names = 'panda', which is not a mapping"):
        start_metadata({"device_names": "panda"}, {})
    with pytest.raises(ScanError, match=r"segments = 3, which is not a list"):
        start_metadata({"segments": 3}, {})
