import sys

import pytest

from danmax_bluesky.cli.plan_options import command_line


@pytest.mark.parametrize(
    "words",
    [
        ["--catalog.api-key", "K3Y"],
        ["--catalog.api-key=K3Y"],
        ["--set", "catalog.api_key=K3Y"],
        ["--set=catalog.api_key=K3Y"],
        ["--set", "catalog={kind: remote, api_key: K3Y}"],
        ["--set", 'catalog={"api_key": "K3Y"}'],
        ["--catalog.api-key", "OLD-K3Y", "--catalog.api-key", "K3Y"],
        ["--catalog.api-key", "api-key", "--catalog.api-key=K3Y"],
    ],
)
def test_a_secret_is_struck_out_of_the_command(monkeypatch, words):
    monkeypatch.setattr(sys, "argv", ["danmax", "azcount", "3", "0.1", *words, "--sample", "bone dry"])
    told = command_line()
    assert "K3Y" not in told
    assert told.startswith("danmax azcount 3 0.1 ")
    assert told.endswith("--sample 'bone dry'")


def test_everything_else_is_told_as_it_was_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["danmax", "mesh", "tom_sam_x", "0", "1", "--set", "twin.seed=3"])
    assert command_line() == "danmax mesh tom_sam_x 0 1 --set twin.seed=3"
