"""Texts that are made from the description of a scan: its reference page, and its keywords for type checkers.

Both stand in the repository, so that they can be read without a program; tests compare them with what is made here.
`make generated` writes them again.
"""

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from danmax_bluesky.options import REQUIRED, Option, options_of, union_members
from danmax_bluesky.tomography.scan import WAY, TomoScan

_PAGE = """# Parameters of a tomography

This page is made from the description of a scan, `danmax_bluesky.TomoScan`; `make generated` writes it again.

Every parameter is a keyword of the plan, an option of the command line and of the word at the prompt, a field in the
forms of the queue server, and, where it is a plain value, an attribute of the configurator:

```python
RE(tomo_scan("ascanct", "tom_ry", 0, 180, 1800, 0.01, npt_fields=20, angles="golden", turns=3))
```

```console
$ danmax tomoscan ascanct tom_ry 0 180 1800 0.01 --npt-fields 20 --angles golden --turns 3
```

```text
%tomoscan ascanct tom_ry 0 180 1800 0.01 --npt-fields 20 --angles golden --turns 3
```

The parameters of the first table are given in this order, without their names; the others by name. Those that are
true or false stand alone on a command line: `--back-and-forth`, or `--no-get-dark`. `none` leaves out what was
remembered, as in `--helical none`. What is not given comes from the configurator, which holds what the last tomography
used, and begins with the values below.
"""
_KEYWORDS = '''"""The keywords of `tomo_scan`, for type checkers and editors.

Made from the description of a scan, `TomoScan`, by `make generated`; do not edit it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from danmax_bluesky.tomography.sequences import AngleSequence
from danmax_bluesky.tomography.translations import Helical, Line, Places


class ScanArguments(TypedDict, total=False):
    """Each parameter of a tomography that is given by its name."""
'''


def scan_page(model: type[BaseModel] = TomoScan) -> str:
    """The page docs/reference/tomoscan.md."""
    groups: dict[str, list[Option]] = {}
    for option in options_of(model):
        groups.setdefault(option.about.group or "Others", []).append(option)
    return _PAGE + "".join(_section(name, options) for name, options in groups.items())


def scan_keywords(model: type[BaseModel] = TomoScan) -> str:
    """The module tomography/scan_arguments.py: the options that are given by name, with their types."""
    lines = [
        f"    {option.name}: {type_source(option)}\n" + _docstring(option)
        for option in options_of(model)
        if option.about.group != WAY
    ]
    return _KEYWORDS + "\n" + "".join(lines)


def type_source(option: Option) -> str:
    """The type of an option as Python writes it, with what else is accepted."""
    if option.about.accepts:
        return option.about.accepts
    return " | ".join(_type_name(member) for member in union_members(option.annotation))


def _type_name(member: Any) -> str:
    if member is type(None):
        return "None"
    if get_origin(member) is Literal:
        return f"Literal[{', '.join(_quoted(value) for value in get_args(member))}]"
    return member.__name__ if isinstance(member, type) and get_origin(member) is None else str(member)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _docstring(option: Option) -> str:
    words = f'"""{option.sentence}."""'.split(" ")
    lines: list[str] = []
    line = "   "
    for word in words:
        if len(line) + 1 + len(word) > 120:
            lines, line = [*lines, line], "   "
        line += f" {word}"
    return "\n".join([*lines, line]) + "\n"


def _section(name: str, options: Iterable[Option]) -> str:
    rows = "".join(
        f"| `{o.name}` | {_spelling(o)} | {_allowed(o)} | {_default(o)} | {_meaning(o)} |\n" for o in options
    )
    return f"\n## {name}\n\n| parameter | option | value | default | meaning |\n|---|---|---|---|---|\n{rows}"


def _spelling(option: Option) -> str:
    if option.about.group == WAY:
        return option.name.upper()
    if option.is_switch:
        return f"`--{option.word}`, `--no-{option.word}`"
    return f"`--{option.word}`" + (", may be repeated" if option.kind is tuple else "")


def _allowed(option: Option) -> str:
    """What the value may be, with its unit and its limits."""
    unit = f" {option.about.unit}" if option.about.unit else ""
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.about.example:
        return f"such as `{option.about.example}`"
    if option.is_switch:
        return "true or false"
    words = [f"`{word}`" for m in option.members if get_origin(m) is Literal for word in get_args(m)]
    if option.low is not None and option.high is not None:
        return " or ".join([f"{option.low:.12g} to {option.high:.12g}{unit}", *words])
    return "names" if option.kind is tuple else "text"


def _default(option: Option) -> str:
    default = option.default if option.about.usual is None else option.about.usual
    if default is REQUIRED or default in (None, "", ()):
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    return f"{default:g}" if isinstance(default, float) else f"`{getattr(default, 'kind', default)}`"


def _meaning(option: Option) -> str:
    only = f"; for {', '.join(option.about.only_for)}" if option.about.only_for else ""
    return f"{option.help}{only}".replace("|", "\\|")
