"""The worker's keeper, when the worker cannot live."""

import sys

import pytest

from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.pipelines import supervisor as module
from danmax_bluesky.pipelines.supervisor import MAX_DEATHS, Supervisor
from danmax_bluesky.pipelines.worker_messages import Job


@pytest.fixture
def mortal(monkeypatch, tmp_path):
    """A worker that ends as soon as it was started, and notes that it was."""
    births = tmp_path / "births"
    program = f"open({str(births)!r}, 'a').write('x')"
    monkeypatch.setattr(module, "_COMMAND", (sys.executable, "-c", program))
    return births


def job(name):
    return Job(
        id=f"{name}/pilatus",
        file="scan-0001_pilatus.h5",
        dataset="/entry/data",
        detector="pilatus",
        recipes=[{"name": "azint"}, {"name": "cake"}],
        outputs=["a.h5", "b.h5"],
        info={},
    )


def test_jobs_that_are_given_up_are_told_to_whoever_waits_and_the_next_has_every_chance(mortal):
    done = []
    supervisor = Supervisor(on_done=lambda job_id, outcomes: done.append((job_id, outcomes)))
    for number, name in enumerate(("first", "second"), 1):
        supervisor.begin(job(name))
        with pytest.raises(AcquisitionError, match=rf"{name}/pilatus: the worker died {MAX_DEATHS + 1} times"):
            supervisor.wait(120)
        job_id, outcomes = done[-1]
        assert job_id == f"{name}/pilatus"
        assert [(outcome.recipe, outcome.failed) for outcome in outcomes] == [("azint", True), ("cake", True)]
        assert len(done) == number
        assert len(mortal.read_text()) == number * (MAX_DEATHS + 1)
    supervisor.close()
