"""The PandA, collected in segments, and its blocks as things that fly.

    panda = Panda("PREFIX:", path_provider, name="panda")
    seq = sequencer(panda)              # after the PandA is connected; prepare(SeqTableInfo(...)), kickoff, complete
    pcomp = position_compare(panda)     # prepare(PcompInfo(...)), kickoff, complete

Stage them with the detectors: staging, unstaging and `stop` disable the block, so that no trigger is sent any more.
"""

from bluesky.protocols import Stoppable
from ophyd_async.core import FlyableLogic, PathProvider, StandardFlyable
from ophyd_async.fastcs.panda import HDFPanda, StaticPcompFlyableLogic, StaticSeqTableFlyableLogic

from danmax_bluesky.devices.segments import SegmentedDetector


class Panda(HDFPanda, SegmentedDetector):
    """Blocks and file of a PandA; every kickoff opens a segment.

    Args:
        prefix: of its process variables.
        path_provider: tells where its file goes.
        name: of the device; its data keys are those of its DATASETS table.
    """

    def __init__(self, prefix: str, path_provider: PathProvider, name: str = "") -> None:
        super().__init__(prefix, path_provider, name)


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
    return TriggerSource(StaticSeqTableFlyableLogic(panda.seq[number]), name or f"{panda.name}_seq{number}")


def position_compare(panda: Panda, number: int = 1, name: str = "") -> TriggerSource:
    """Position compare `number` of a connected PandA; `prepare` takes a PcompInfo."""
    return TriggerSource(StaticPcompFlyableLogic(panda.pcomp[number]), name or f"{panda.name}_pcomp{number}")
