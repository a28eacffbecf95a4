"""A catalogue of Tiled's in this process, with a scan and the patterns that were integrated from it."""

from types import SimpleNamespace

import pytest
from bluesky_tiled_plugins.clients.catalog_of_bluesky_runs import CatalogOfBlueskyRuns
from tiled.catalog import in_memory
from tiled.client import Context, from_context
from tiled.server.app import build_app
from tiled.structures.core import Spec

from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.client import find_runs
from danmax_bluesky.pipelines.catalog.measured import measured
from danmax_bluesky.shell.runs import Cat

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx`")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    app = build_app(in_memory(writable_storage=[str(tmp_path_factory.mktemp("tiled"))]))
    with Context.from_app(app) as context:
        specs = [Spec("CatalogOfBlueskyRuns", version="3.0")]
        root = from_context(context).create_container("runs", specs=specs)
        starts = [
            {"uid": "measured-1", "scan_id": 1, "time": 1.0},
            {"uid": "measured-2", "scan_id": 2, "time": 2.0},
            {"uid": "patterns-2", "scan_id": 2, "time": 3.0, "derived_from": "measured-2"},
        ]
        for start in starts:
            root.create_container(start["uid"], metadata={"start": {**start, "sample": {"name": "CeO2"}}})
        assert isinstance(root, CatalogOfBlueskyRuns)
        yield measured(root).sort(("start.time", 1))


def uid(run):
    return run.metadata["start"]["uid"]


def test_a_number_is_what_was_measured_and_not_its_patterns(catalog):
    assert [uid(catalog[number]) for number in (2, 1, -1, -2)] == [
        "measured-2",
        "measured-1",
        "measured-2",
        "measured-1",
    ]
    assert [uid(run) for run in catalog[-1:-3:-1]] == ["measured-2", "measured-1"]
    assert uid(catalog["patterns-2"]) == uid(catalog["patter"]) == "patterns-2"


def test_a_search_tells_patterns_only_when_asked(catalog):
    assert [uid(run) for run in find_runs(catalog, sample="CeO2").values()] == ["measured-1", "measured-2"]
    assert uid(find_runs(catalog, scan=2)[-1]) == "measured-2"
    assert [uid(run) for run in find_runs(catalog, sample="CeO2", derived=True).values()] == ["patterns-2"]
    assert uid(find_runs(catalog, derived=True)[-1]) == uid(find_runs(catalog, derived=True)[2]) == "patterns-2"


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (999, "no scan 999"),
        (-9, "no run -9"),
        ("abcdef", "abcdef"),
        ("abc", "too short"),
        (slice(3), "negative indexes"),
    ],
)
def test_a_run_that_is_not_there_is_told_in_one_sentence(catalog, which, said):
    with pytest.raises(CatalogError, match=said):
        Cat(session_with(catalog))[which]  # type: ignore[arg-type]


def test_the_last_run_is_not_another_one_while_it_is_on_its_way(catalog):
    with pytest.raises(CatalogError, match=r"cat\[-1\]: 1 run\(s\) are over and not in the catalogue yet"):
        Cat(session_with(catalog, late=["uid"]))[-1]  # type: ignore[arg-type]


def session_with(catalog, late=()):
    """What `cat` asks of a session: its catalogue, and which runs are over and not in it yet."""
    return SimpleNamespace(catalog=catalog, catalog_service=SimpleNamespace(late=list(late)))
