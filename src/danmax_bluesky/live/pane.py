"""What every view of the page has: something to choose, a value that is computed, and how its absence is shown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Generic, Protocol, TypeVar

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.live.readers import ScanReader

V = TypeVar("V")


class Pane(Protocol):
    """A view of the page, as one browser has it.

    Attributes:
        name: on its tab.
        layout: its widgets and figures.
    """

    name: str
    layout: Any

    def choice(self) -> Any:
        """What is asked for now, by its widgets."""
        ...

    def compute(self, reader: ScanReader, choice: Any) -> Any:
        """Read what is asked for; this runs in a thread, and touches no widget.

        Raises:
            DanmaxError: it cannot be read; the page shows why.
        """
        ...

    def show(self, value: Any) -> None:
        """Draw what was computed."""
        ...


@dataclass(frozen=True, eq=False)
class Offer(Generic[V]):
    """What a view offers for choice, and what it shows.

    Attributes:
        choices: names, such as those of the detectors.
        view: of the chosen one; None as long as there is nothing to see.
        problem: why it could not be read, or "".
    """

    choices: tuple[str, ...]
    view: V | None = None
    problem: str = ""


def offer_of(choices: Iterable[str], chosen: str, view: Callable[[str], V | None]) -> Offer[V]:
    """The view of what is chosen, or of the first choice where that is none of them.

    Args:
        choices: names.
        chosen: one of them, or "".
        view: reads the view of one.
    """
    names = tuple(choices)
    if not names:
        return Offer(())
    try:
        return Offer(names, view(chosen if chosen in names else names[0]))
    except DanmaxError as error:
        return Offer(names, None, str(error))


def show_offer(offer: Offer[V], select: Any, text: Any, drawn: Sequence[Any], waiting: str) -> V | None:
    """Bring the list of choices up to date; without a view say why, and empty what was drawn of an earlier one.

    Args:
        offer: what was computed.
        select: the widget with the choices.
        text: the line of text of the view.
        drawn: data sources of its figures.
        waiting: what is said while there is nothing to see.

    Returns:
        what is to be drawn, or None.
    """
    if list(select.options) != list(offer.choices):
        select.options = list(offer.choices)
    if offer.view is None:
        level = "bad" if offer.problem else "muted"
        text.object = f'<div class="text {level}">{escape(offer.problem or waiting)}</div>'
        for source in drawn:
            source.data = {name: [] for name in source.data}
    return offer.view
