"""Verbs of alignment plans: compute beside the RunEngine, and move to what was proposed."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from danmax_bluesky.alignment.proposal import Proposal
from danmax_bluesky.errors import PreflightError
from danmax_bluesky.plans.powder import reachable
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import nothing_is_away

T = TypeVar("T")


def computed(work: Callable[[], T]) -> MsgGenerator[T]:
    """What a function returns or raises, computed in a thread while the RunEngine goes on answering."""
    results: list[T] = []
    errors: list[Exception] = []

    async def compute() -> None:
        try:
            results.append(await asyncio.to_thread(work))
        except Exception as error:  # the RunEngine does not hand on what was raised here
            errors.append(error)

    yield from bps.wait_for([compute])
    if errors:
        raise errors[0]
    return results[0]


def apply(rig: Rig, proposal: Proposal) -> MsgGenerator[None]:
    """Move the motors of a proposal, in its order.

    Raises:
        PreflightError: a target lies outside the limits of its motor; then none moves.
    """
    yield from nothing_is_away(rig)
    findings: list[str] = []
    for move in proposal.moves:
        try:
            yield from reachable(rig, (move.motor,), [(move.target,)])
        except PreflightError as error:
            findings += error.findings
    if findings:
        raise PreflightError(findings)
    for move in proposal.moves:
        yield from bps.mv(rig.motor(move.motor), move.target)
