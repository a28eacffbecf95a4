"""The server of the page says before it serves what it cannot do."""

import pytest

pytest.importorskip("panel", reason="the live page needs panel: pip install 'danmax-bluesky[live]'")

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.live.server import _keep_token


def test_a_token_that_cannot_be_written_down_is_told_of_with_its_file_and_a_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"file/live_token: the token .* cannot be written .* live\.address"):
        _keep_token(tmp_path / "file" / "live_token", "secret")
