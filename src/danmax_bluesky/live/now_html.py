"""The head of the page, and what a scan is doing now, as HTML. Every text of a document is escaped."""

from html import escape

from danmax_bluesky.live.now import SHUTTER, Message, Now, Phase, Reading, duration_text
from danmax_bluesky.live.theme import KINDS, LINE

MOTORS_SHOWN = 12


def head_html(now: Now | None, waiting: str = "") -> str:
    """Number, sample, state and progress of a scan.

    Args:
        now: None if there is no scan yet.
        waiting: what is said then.
    """
    if now is None:
        return (
            f'<div class="top"><span class="title">No scan yet</span><span class="muted">{escape(waiting)}</span></div>'
        )
    sample = f'<span class="title muted">{escape(now.sample)}</span>' if now.sample else ""
    return (
        f'<div class="top"><span class="title">{escape(now.title)}</span>{sample}'
        f'<span class="state {now.level}">{escape(now.state)}</span>'
        f'<span class="command">{escape(now.command)}</span></div>{_bar(now.phases)}'
    )


def now_html(now: Now) -> str:
    """Cards with what one wants to know first, then phases and messages, then motors."""
    if now.remaining_s is not None:
        time = _card("time that remains", duration_text(now.remaining_s), f"{duration_text(now.elapsed_s)} so far")
    else:
        time = _card(
            "duration", duration_text(now.elapsed_s), "" if now.state != "measuring" else "its end is not planned"
        )
    latest = next((phase for phase in now.phases if phase.is_now), None)
    phase = _card("phase", latest.name if latest else now.state, f"{len(now.phases)} phases", now.level)
    number = f"{now.done} / {now.planned}" if now.planned else str(now.done)
    cards = [
        phase,
        _card("frames", number, f"{100 * now.share:.0f} %"),
        time,
        _beam(now.beam),
        *(_card(reading.name, reading.text, reading.when, reading.level) for reading in now.beam if reading.is_current),
        _card(now.disk.name, now.disk.text, now.disk.when, now.disk.level),
    ]
    return (
        f'<div class="cards">{"".join(cards)}</div>'
        f'<div class="halves"><div class="card">{_messages(now.messages)}</div>'
        f'<div class="card">{_phases(now.phases)}</div></div>'
        f'<div class="card" style="margin-top:14px">{_motors(now.motors)}</div>'
    )


def _beam(readings: tuple[Reading, ...]) -> str:
    """Shutter and beam in one card: without beam nothing else counts."""
    lacking = next((reading for reading in readings if reading.level == "bad" and not reading.is_current), None)
    shown = lacking or next((reading for reading in readings if reading.name == SHUTTER), None)
    if shown is None:
        return ""
    others = [reading for reading in readings if reading is not shown and not reading.is_current]
    note = ", ".join([*(f"{reading.name} {reading.text}" for reading in others), shown.when])
    return _card(shown.name, shown.text, note.strip(", "), shown.level)


def _card(name: str, value: str, note: str, level: str = "plain") -> str:
    return (
        f'<div class="card"><div class="name">{escape(name)}</div><div class="value {level}">{escape(value)}</div>'
        f'<div class="note">{escape(note)}</div></div>'
    )


def _bar(phases: tuple[Phase, ...]) -> str:
    """One piece for each phase, as wide as it has frames, filled as far as it is done."""
    pieces = []
    for phase in phases:
        planned = phase.planned or phase.done or 1
        share = min(100.0, 100.0 * phase.done / planned)
        colour = KINDS.get(phase.kind, KINDS["data"])
        pieces.append(
            f'<div style="flex:{max(1, planned)} 1 0" title="{escape(phase.name)}: {phase.done} of {planned}">'
            f'<div style="width:{share:.1f}%;background:{colour}"></div></div>'
        )
    return f'<div class="bar">{"".join(pieces)}</div>'


def _phases(phases: tuple[Phase, ...]) -> str:
    rows = []
    for phase in phases:
        colour = KINDS.get(phase.kind, KINDS["data"]) if phase.done else LINE
        number = f"{phase.done} / {phase.planned}" if phase.planned is not None else str(phase.done)
        name = f"<b>{escape(phase.name)}</b>" if phase.is_now else escape(phase.name)
        rows.append(
            f'<tr><td><span class="dot" style="background:{colour}"></span>{name}</td>'
            f'<td class="number">{number}</td></tr>'
        )
    return f'<div class="name">phases</div><table class="phases">{"".join(rows)}</table>'


def _messages(messages: tuple[Message, ...]) -> str:
    rows = "".join(
        f'<tr><td class="muted">{escape(message.time)}</td><td class="{message.level}">{escape(message.text)}</td></tr>'
        for message in messages
    )
    return f'<div class="name">messages</div><table>{rows or "<tr><td class=muted>none</td></tr>"}</table>'


def _motors(motors: tuple[Reading, ...]) -> str:
    """The motors of the scan first; the rest is one line for who wants it."""
    shown = motors[:MOTORS_SHOWN]
    cells = [
        f'<td class="muted">{escape(reading.name)}</td><td class="number" title="{escape(reading.when)}">'
        f"{escape(reading.text)}</td>"
        for reading in shown
    ]
    columns = 3
    rows = ["".join(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    whens = {reading.when for reading in shown if reading.when}
    note = f" <span class=muted>{escape(', '.join(sorted(whens)))}</span>" if whens else ""
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="name">motors{note}</div><table>{table}</table>'
