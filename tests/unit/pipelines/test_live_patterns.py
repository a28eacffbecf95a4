"""What the worker does when frames are late, or never come."""

import logging
import threading
from dataclasses import replace

import numpy as np
import pytest

from danmax_bluesky.pipelines import live_patterns
from danmax_bluesky.pipelines.frame_ranges import Stretches
from danmax_bluesky.pipelines.live_patterns import Backlog, run_job
from danmax_bluesky.pipelines.output import COMPLETE, INCOMPLETE, known_state, state_of
from danmax_bluesky.pipelines.worker_messages import Job, ScanInfo
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.locks import WriterLock, has_writer
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.powder import DATASET, DetectorWriter, PowderRun, ring_frames

SHAPE = (97, 83)


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = {"detector": "pilatus", "radial_bins": 50}
    detector = {"pixel_size_m": 172e-6, "distance_m": 0.1}
    return Job.of(
        ScanInfo(run_uid="run", energy_kev=35.0, detector=detector),
        id="run/pilatus",
        file=str(tmp_path / "scan-0001_pilatus.h5"),
        dataset=DATASET,
        detector="pilatus",
        recipes=[recipe],
        outputs=[str(tmp_path / "patterns.h5")],
    )


@pytest.mark.parametrize(("announced", "state"), [(20, COMPLETE), (23, INCOMPLETE)])
def test_a_file_is_complete_only_with_every_frame_that_was_announced(job, tmp_path, announced, state):
    with DetectorWriter(tmp_path / "scan-0001_pilatus.h5", ring_frames(SHAPE, 5)) as writer:
        writer.append(20)
        stretches = Stretches()
        stretches.add(0, announced)
        stretches.end([(0, announced)], complete=True)
        (outcome,) = run_job(job, stretches, patience_s=0.05)
    assert state_of(tmp_path / "patterns.h5") == state
    assert len(read_patterns(tmp_path / "patterns.h5").index) == 20
    assert any("3 frames that were announced never came" in text for text in outcome.problems) == (announced == 23)


@pytest.mark.parametrize("ends", [True, False])
def test_a_file_that_another_process_writes_is_waited_for(job, tmp_path, monkeypatch, ends):
    other = WriterLock(tmp_path / "patterns.h5")
    monkeypatch.setattr(live_patterns, "WAIT_S", 60.0 if ends else 0.0)
    release = threading.Timer(0.2, other.release)
    with DetectorWriter(tmp_path / "scan-0001_pilatus.h5", ring_frames(SHAPE, 5)) as writer:
        writer.append(20)
        stretches = Stretches()
        stretches.end([(0, 20)])
        if ends:
            release.start()
        (outcome,) = run_job(job, stretches)
    other.release()
    assert outcome.failed != ends
    assert (state_of(tmp_path / "patterns.h5") == COMPLETE) == ends
    assert ends or "is being written by another process" in outcome.problems[0]
    assert not has_writer(tmp_path / "patterns.h5")


def test_whatever_goes_wrong_the_file_may_be_written_by_others(job, tmp_path):
    def fail(name, _):
        if name == "event_page":
            raise TypeError("nothing that was thought of")

    with DetectorWriter(tmp_path / "scan-0001_pilatus.h5", ring_frames(SHAPE, 5)) as writer:
        writer.append(20)
        stretches = Stretches()
        stretches.end([(0, 20)])
        (outcome,) = run_job(job, stretches, lambda _: [fail])
        assert outcome.failed
        assert "TypeError: nothing that was thought of" in outcome.problems[0]
        (outcome,) = run_job(job, stretches)
    assert (outcome.failed, outcome.frames) == (False, 20)
    assert outcome.resumed > 0


def test_integrals_are_told_of_every_frame_also_of_those_from_before_a_restart(job, tmp_path):
    told = {}

    def note(name, doc):
        if name == "event_page":
            told.update(zip(doc["data"]["frame_number"], doc["data"]["I0"], strict=True))

    with DetectorWriter(tmp_path / "scan-0001_pilatus.h5", ring_frames(SHAPE, 5)) as writer:
        writer.append(20)
        stretches = Stretches()
        stretches.end([(0, 20)])
        run_job(job, stretches, lambda _: [note])
    stored = read_patterns(tmp_path / "patterns.h5").integrals["I0"]
    assert [told[number] for number in range(20)] == stored.tolist()


def test_a_frame_that_cannot_be_read_leaves_an_incomplete_file_and_a_failed_outcome(job, tmp_path, monkeypatch):
    monkeypatch.setattr(live_patterns, "ATTEMPTS", 1)
    path = tmp_path / "scan-0001_pilatus.h5"
    with DetectorWriter(path, ring_frames(SHAPE, 5)) as writer:
        writer.append(5)
        place = writer._data.id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 14)
        raw.write(b"\xff" * (place.size - 20))
    stretches = Stretches()
    stretches.end([(0, 5)])
    (outcome,) = run_job(job, stretches, patience_s=0.05)
    assert outcome.failed
    assert "1 of 5 frames could not be read" in outcome.problems[0]
    assert known_state(tmp_path / "patterns.h5")[0::2] == (INCOMPLETE, 1)
    assert list(read_patterns(tmp_path / "patterns.h5").columns["valid"]) == [1, 1, 0, 1, 1]


def test_a_second_recipe_of_one_name_is_refused_and_the_first_is_integrated(job, tmp_path):
    job = replace(job, recipes=[*job.recipes, {"radial_bins": 30}], outputs=list(job.outputs) * 2)
    with DetectorWriter(tmp_path / "scan-0001_pilatus.h5", ring_frames(SHAPE, 5)) as writer:
        writer.append(5)
        stretches = Stretches()
        stretches.end([(0, 5)])
        outcomes = run_job(job, stretches, patience_s=0.05)
    assert sorted(outcome.failed for outcome in outcomes) == [False, True]
    assert any("a name of its own" in text for outcome in outcomes for text in outcome.problems)
    assert read_patterns(tmp_path / "patterns.h5").intensity.shape == (5, 50)


def test_falling_behind_is_told_once_each_time_it_doubles_and_so_is_catching_up(caplog):
    backlog = Backlog("file::data")
    with caplog.at_level(logging.WARNING):
        for waiting in (3, 99, 120, 130, 239, 260, 300, 90, 20, 5, 3, 2):
            backlog.note(waiting)
    assert [record.getMessage() for record in caplog.records] == [
        "file::data: the integration is 120 frames behind; it will catch up",
        "file::data: the integration is 260 frames behind; it will catch up",
        "file::data: the integration has caught up; it was 300 frames behind",
    ]


def test_a_run_that_may_end_early_misses_nothing_and_what_is_monitored_is_no_data(tmp_path):
    documents = []
    consumer = lambda name, doc: documents.append((name, dict(doc)))  # noqa: E731
    run = PowderRun(tmp_path, [], {"primary": ("data", 100)}, SHAPE, consumers=[consumer])
    run.start()
    run.segment("primary")
    run.rows("primary", 30)
    run.stop()
    assert fold(documents).missing == {"primary": 70}
    documents[0][1]["segments"][0]["may_end_early"] = True
    assert fold(documents).is_complete
    descriptor = {**documents[1][1], "uid": "other", "name": "tom_sam_x_monitor", "data_keys": {}}
    record = fold([*documents[:1], ("descriptor", descriptor), *documents[1:]])
    assert [segment.kind for segment in record.segments] == ["monitor", "data"]
    assert np.all([segment.name == "primary" for segment in record.segments_of("data")])
