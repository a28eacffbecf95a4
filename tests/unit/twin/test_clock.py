import asyncio
import time

import pytest

from danmax_bluesky.twin.clock import SECOND, FastClock, RealClock, make_clock


async def test_the_fast_clock_jumps_to_the_earliest_and_keeps_the_order():
    clock = FastClock()
    begin = clock.now_ns()
    woken = []

    async def sleeper(name, seconds):
        await clock.sleep_until(begin + seconds * SECOND)
        woken.append((name, (clock.now_ns() - begin) // SECOND))

    await asyncio.gather(sleeper("long", 3600), sleeper("short", 5), sleeper("second", 5))
    assert woken == [("short", 5), ("second", 5), ("long", 3600)]


async def test_the_fast_clock_stands_still_while_something_happens(monkeypatch):
    monkeypatch.setattr("danmax_bluesky.twin.clock.QUIET_S", 0.5)  # also on a busy machine
    clock = FastClock()
    begin = clock.now_ns()
    waiting = asyncio.create_task(clock.sleep_until(begin + SECOND))
    for _ in range(20):
        await asyncio.sleep(0.0005)
        clock.touch()
        assert clock.now_ns() == begin
    await waiting
    assert clock.now_ns() == begin + SECOND


async def test_who_no_longer_waits_does_not_move_the_fast_clock():
    clock = FastClock()
    begin = clock.now_ns()
    waiting = asyncio.create_task(clock.sleep_until(begin + SECOND))
    await asyncio.sleep(0)
    waiting.cancel()
    await clock.sleep_until(begin + 2 * SECOND)
    assert clock.now_ns() == begin + 2 * SECOND
    await asyncio.sleep(0.01)
    assert clock.now_ns() == begin + 2 * SECOND


async def test_what_is_over_is_not_waited_for():
    clock = FastClock()
    begin = clock.now_ns()
    await clock.sleep_until(begin)
    assert clock.now_ns() == begin


async def test_the_real_clock_tells_the_time_and_never_wakes_early():
    clock = RealClock()
    assert abs(clock.now_ns() - time.time_ns()) < SECOND
    wanted = clock.now_ns() + SECOND // 100
    await clock.sleep_until(wanted)
    assert clock.now_ns() >= wanted
    clock.touch()


@pytest.mark.parametrize(("kind", "expected"), [("fast", FastClock), ("real", RealClock)])
def test_clocks_by_name(kind, expected):
    assert isinstance(make_clock(kind), expected)
