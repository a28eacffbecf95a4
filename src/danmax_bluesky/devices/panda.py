"""The PandA, collected in segments, and its blocks as things that fly.

    panda = Panda("PREFIX:", path_provider, name="panda")
    seq = sequencer(panda)              # after the PandA is connected; prepare(SeqTableInfo(...)), kickoff, complete
    pcomp = position_compare(panda)     # prepare(PcompInfo(...)), kickoff, complete

Stage them with the detectors: staging, unstaging and `stop` disable the block, so that no trigger is sent any more.
"""

from bluesky.protocols import Stoppable
from ophyd_async.core import FlyableLogic, PathProvider, StandardFlyable, set_and_wait_for_other_value
from ophyd_async.fastcs.panda import HDFPanda, PandaBitMux, StaticPcompFlyableLogic, StaticSeqTableFlyableLogic

from danmax_bluesky.devices.segments import SegmentedDetector

ACTIVE_TIMEOUT_S = 1.0


class Panda(HDFPanda, SegmentedDetector):
    """Blocks and file of a PandA; every kickoff opens a segment.

    Args:
        prefix: of its process variables.
        path_provider: tells where its file goes.
        name: of the device; its data keys are those of its DATASETS table.
    """

    def __init__(self, prefix: str, path_provider: PathProvider, name: str = "") -> None:
        super().__init__(prefix, path_provider, name)


class _Sequencer(StaticSeqTableFlyableLogic):
    async def on_kickoff(self, ctx: None) -> None:
        """Begin, and be sure of it: a table of a few milliseconds is over before one could look whether it runs."""
        await set_and_wait_for_other_value(
            self.seq.enable, PandaBitMux.ONE, self.seq.active, match_value=True, timeout=ACTIVE_TIMEOUT_S
        )


class TriggerSource(StandardFlyable, Stoppable):
    """A block of the PandA that sends triggers while it is enabled."""

    def __init__(self, logic: FlyableLogic, name: str) -> None:
        super().__init__(name=name)
        self.flyable_logic = logic

    async def stop(self, success: bool = True) -> None:
        """Disable the block; a `complete` in progress then ends."""
        await self.flyable_logic.stop()


def sequencer(panda: Panda, number: int = 1, name: str = "") -> TriggerSource:
    """Sequencer `number` of a connected PandA; `prepare` takes a SeqTableInfo."""
    return TriggerSource(_Sequencer(panda.seq[number]), name or f"{panda.name}_seq{number}")


def position_compare(panda: Panda, number: int = 1, name: str = "") -> TriggerSource:
    """Position compare `number` of a connected PandA; `prepare` takes a PcompInfo."""
    return TriggerSource(StaticPcompFlyableLogic(panda.pcomp[number]), name or f"{panda.name}_pcomp{number}")
