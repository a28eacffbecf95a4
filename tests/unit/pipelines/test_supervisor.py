"""The worker's keeper, when the worker cannot live."""

import sys

import pytest

from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.pipelines.supervisor import MAX_DEATHS, Supervisor
from danmax_bluesky.pipelines.worker_messages import Job

ANSWERS = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["do"] == "begin":
        failed = sys.argv[1] == "failed"
        outcome = {"recipe": "azint", "output": "", "frames": 7, "problems": ["lost"], "failed": failed}
        print(json.dumps({"event": "done", "id": message["job"]["id"], "outcomes": [outcome]}), flush=True)
"""
"""A worker that is done with every job at once."""


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


def test_jobs_that_are_given_up_are_told_to_whoever_waits_and_the_next_has_every_chance(tmp_path):
    births, done = tmp_path / "births", []
    mortal = (sys.executable, "-c", f"open({str(births)!r}, 'a').write('x')")
    supervisor = Supervisor(on_done=lambda job_id, outcomes: done.append((job_id, outcomes)), command=mortal)
    for number, name in enumerate(("first", "second"), 1):
        supervisor.begin(job(name))
        with pytest.raises(AcquisitionError, match=rf"{name}/pilatus: the worker died {MAX_DEATHS + 1} times"):
            supervisor.wait(120)
        job_id, outcomes = done[-1]
        assert job_id == f"{name}/pilatus"
        assert [(outcome.recipe, outcome.failed) for outcome in outcomes] == [("azint", True), ("cake", True)]
        assert len(done) == number
        assert len(births.read_text()) == number * (MAX_DEATHS + 1)
    supervisor.close()


@pytest.mark.parametrize("ending", ["failed", "well"])
def test_who_waits_goes_on_only_after_everything_of_a_job_was_told(ending):
    outcomes = []

    def listen(job_id, done):
        with pytest.raises(AcquisitionError, match="is not done after 0 s"):
            supervisor.wait(0)
        outcomes.append((job_id, done[0].frames))

    supervisor = Supervisor(on_done=listen, command=(sys.executable, "-c", ANSWERS, ending))
    supervisor.begin(job("first"))
    if ending == "failed":
        with pytest.raises(AcquisitionError, match="lost"):
            supervisor.wait(120)
    else:
        supervisor.wait(120)
    assert outcomes == [("first/pilatus", 7)]
    supervisor.close()
