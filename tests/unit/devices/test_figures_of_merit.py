"""Integral parameters as a device: a frame and its integrals in one event, and never a scan that hangs."""

import asyncio
import math
import threading

import pytest

from danmax_bluesky.devices.figures_of_merit import Integrals

NAMES = ("I0", "I1")


@pytest.fixture
async def integrals():
    device = Integrals("pilatus", ["azint", "fine"], NAMES, asyncio.get_running_loop(), patience_s=20)
    device.begin("run")
    describe(device)
    return device


def describe(device, runs=("run", "before")):
    """Both runs have the same recipes."""
    for run in runs:
        for recipe in ("azint", "fine"):
            uid = f"{run} {recipe}"
            start = {"uid": uid, "derived_from": run, "recipe": {"name": recipe, "detector": "pilatus"}}
            device("start", start)
            device("descriptor", {"uid": f"{uid} integrals", "name": "integrals", "run_start": uid})


def tell(device, frames, run="run", recipe=None):
    """As the thread that listens to the worker does."""
    for name in [recipe] if recipe else ["azint", "fine"]:
        values = {"I0": [10.0 * frame for frame in frames], "I1": [1.0] * len(frames), "frame_number": frames}
        page = {"descriptor": f"{run} {name} integrals", "data": values}
        thread = threading.Thread(target=device, args=("event_page", page))
        thread.start()
        thread.join()


async def value(device, key="pilatus_azint_I0"):
    return (await device.read())[key]["value"]


async def test_it_is_described_and_the_intensity_is_hinted(integrals):
    assert set(await integrals.describe()) == set(await integrals.read())
    assert integrals.hints == {"fields": ["pilatus_azint_I0", "pilatus_fine_I0"]}


async def test_each_event_has_the_integrals_of_its_own_frame(integrals):
    for frame in range(200):
        status = integrals.trigger()
        await asyncio.sleep(0)
        assert not status.done
        tell(integrals, [frame])
        await status
        assert await value(integrals) == 10.0 * frame


async def test_patterns_that_come_in_batches_ahead_of_their_events_are_kept(integrals):
    tell(integrals, list(range(8)))
    for frame in range(8):
        await integrals.trigger()
        assert await value(integrals) == 10.0 * frame


async def test_it_waits_for_every_recipe_but_not_for_one_that_failed(integrals):
    status = integrals.trigger()
    tell(integrals, [0], recipe="azint")
    await asyncio.sleep(0.05)
    assert not status.done
    integrals.failed("run", "fine")
    await status
    assert await value(integrals) == 0.0
    assert math.isnan(await value(integrals, "pilatus_fine_I0"))


async def test_another_run_is_left_aside(integrals):
    status = integrals.trigger()
    tell(integrals, [0, 1, 2], run="before")
    await asyncio.sleep(0.05)
    assert not status.done
    integrals.begin("")  # the run is over: nobody waits any more
    await status


async def test_a_pattern_that_is_late_is_nan_and_is_waited_for_once(caplog):
    device = Integrals("pilatus", ["azint"], NAMES, asyncio.get_running_loop(), patience_s=0.01)
    device.begin("run")
    describe(device)
    for _ in range(3):
        await device.trigger()
        assert math.isnan(await value(device))
    assert len(caplog.records) == 1
    assert "the pattern of frame 0 is not there after 0.01 s" in caplog.text
    tell(device, [0, 1, 2, 3])
    await asyncio.sleep(0.05)
    await device.trigger()
    assert await value(device) == 30.0


async def test_it_is_monitored_without_a_trigger(integrals):
    seen = []
    integrals.subscribe(seen.append)
    tell(integrals, [0, 1, 2], recipe="azint")
    await asyncio.sleep(0.05)
    assert [readings["pilatus_azint_I0"]["value"] for readings in seen] == [20.0]
    integrals.clear_sub(seen.append)
