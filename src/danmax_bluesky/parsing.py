"""Reads the texts that other people and other programs write: the result is a value, or one error that says why not.

Every reader of JSON, TOML or YAML goes through here. A text may be damaged, or made on purpose to hold a program up:
a pipe that nobody writes to, a file without end, brackets inside brackets inside brackets, a YAML alias that doubles
itself thirty times. Each of these ends in an error of the caller's own kind that names the file and what is wrong.
"""

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeGuard

import yaml
from pydantic import ValidationError

from danmax_bluesky.errors import DanmaxError

Kind = Literal["JSON", "TOML", "YAML"]
MEBIBYTE = 2**20
MOST_BYTES = MEBIBYTE
"""The longest text that is read where its reader allows no other length."""
_MOST_BYTES_OF_A_KIND = {"JSON": 256 * MEBIBYTE, "TOML": MEBIBYTE // 4, "YAML": MEBIBYTE // 4}
"""The parsers of TOML and YAML are slow: a long text would hold up whoever waits for it."""
MOST_VALUES = 100_000
"""Of a YAML text once its aliases are written out."""
DEEPEST = 40
"""Lists in lists, and tables in tables: nothing that people write by hand comes near it."""
_MOST_BITS = 64
_LONGEST_SHOWN = 120
_UNEXPECTED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)
_PART = r"""(?:"[^"\n]*"|'[^'\n]*'|(?<![\w-])[\w-]+)"""
_LONG_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{DEEPEST}}}")
"""A dotted key of TOML with more parts than tables may lie in each other."""


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """True for a mapping, of whatever keys and values."""
    return isinstance(value, Mapping)


def is_listed(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """True for a list or a tuple, of whatever items."""
    return isinstance(value, list | tuple)


@contextmanager
def opened(path: Path, error: type[DanmaxError]) -> Generator[BinaryIO]:
    """A file to read bytes from; a pipe, a device or a folder is refused, and never waited for.

    Args:
        path: of the file.
        error: what is raised.

    Raises:
        DanmaxError: of the kind asked for: it does not exist, or cannot be opened or read, with the reason.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise error(f"{path} cannot be read: it is a pipe or a device; name a file")
            yield stream
    except IsADirectoryError:
        raise error(f"{path} cannot be read: it is a folder; name a file") from None
    except (OSError, ValueError) as failure:  # ValueError: a name with a NUL
        reason = getattr(failure, "strerror", None) or str(failure)
        raise error(f"{path} cannot be read: {reason}; name a file that may be read") from None


@contextmanager
def expecting(
    where: str | Path, error: type[DanmaxError], remedy: str = "restore it from a backup, or name another"
) -> Generator[None]:
    """Say in one error what is wrong, if what another program wrote is not made as the reader inside expects.

    Args:
        where: the content is from, for the message.
        error: what is raised.
        remedy: what a person can do.

    Raises:
        DanmaxError: of the kind asked for; one that is raised inside passes as it is.
    """
    try:
        yield
    except DanmaxError:
        raise
    except _UNEXPECTED as failure:
        text = brief(failure) or "nothing more is known"
        raise error(
            f"{where} is damaged, or was made by something else ({type(failure).__name__}: {text}); {remedy}"
        ) from failure


def read_text(
    path: Path,
    error: type[DanmaxError],
    *,
    most_bytes: int = MOST_BYTES,
    missing: str | None = None,
    errors: Literal["strict", "replace"] = "strict",
) -> str:
    """The content of a text file in UTF-8.

    Args:
        path: of the file; a pipe, a device or a folder is refused, and never waited for.
        error: what is raised.
        most_bytes: a longer file is refused.
        missing: the text that stands for a file which does not exist; None raises.
        errors: "replace" puts a mark for each byte that is no UTF-8.

    Raises:
        DanmaxError: of the kind asked for: the file cannot be read, with the reason.
    """
    if missing is not None and not os.path.lexists(path):
        return missing
    with opened(path, error) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise error(f"{path} is longer than {most_bytes:,} bytes, and no file of its kind is; name another file")
    try:
        return content.decode("utf-8", errors).removeprefix("\ufeff")  # an editor's mark of the byte order
    except UnicodeDecodeError as failure:
        raise error(
            f"{path} is no text in UTF-8 (byte {failure.start} is {content[failure.start]:#04x}); save it as UTF-8"
        ) from None


def parse(
    text: str | bytes,
    kind: Kind,
    where: str | Path,
    error: type[DanmaxError],
    *,
    remedy: str = "correct it",
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """The value that a text of JSON, TOML or YAML holds.

    In YAML every word is a text, but null; whoever takes the value makes numbers and truth values of it. So a name
    such as 2026.10 or 0012 stays what was written.

    Args:
        text: to be parsed.
        kind: its language.
        where: the text is from, for messages.
        error: what is raised.
        remedy: what a person can do.
        pairs: takes the keys and values of each JSON object in their order, as `json.loads` passes them.

    Raises:
        DanmaxError: of the kind asked for: the text is none of its language, or nothing that anybody writes by hand.
    """
    if len(text) > _MOST_BYTES_OF_A_KIND[kind]:
        raise error(f"{where} is longer than {_MOST_BYTES_OF_A_KIND[kind]:,} bytes of {kind}; make it shorter")
    try:
        if kind == "JSON":
            value = json.loads(text, object_pairs_hook=pairs)
        elif kind == "TOML":
            value = _toml(text if isinstance(text, str) else text.decode("utf-8"))
        else:
            value = _yaml(text)
        _check(value)
        return value
    except RecursionError:
        reason = f"more than {DEEPEST} lists or tables lie in each other"
    except (ValueError, TypeError, yaml.YAMLError) as failure:  # ValueError: also that of both other parsers
        reason = _reason(failure)
    raise error(f"{where} is no valid {kind}: {reason}; {remedy}")


def shown(value: Any) -> str:
    """A value of somebody else's as it stands in a message: on one line, and not longer than a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more than 4300 digits, and what holds itself
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]} ..."


def brief(failure: Exception | str) -> str:
    """What another library complains of: on one line, and no longer than three lines of a screen."""
    text = " ".join(str(failure).split())
    return text if len(text) <= 3 * _LONGEST_SHOWN else f"{text[: 3 * _LONGEST_SHOWN - 4]} ..."


def nearest(name: str, allowed: Iterable[str]) -> str:
    """What to say of a name that is none of those allowed: the one that was meant, it seems, or all of them."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"


def complaints(error: ValidationError) -> list[Mapping[str, Any]]:
    """What pydantic found wrong: one entry for each value, though it may have tried to read it in several ways.

    What was not looked at because of another error is left out.
    """
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for problem in error.errors(include_url=False):
        if problem["type"] != "default_factory_not_called":
            found.setdefault(tuple(problem["loc"]), problem)
    return list(found.values())


def _reason(failure: Exception) -> str:
    """What a parser complains of, on one line."""
    if isinstance(failure, yaml.MarkedYAMLError) and failure.problem_mark is not None:
        mark = failure.problem_mark
        complaint = " ".join(filter(None, [failure.context, failure.problem]))
        return f"{complaint} (at line {mark.line + 1}, column {mark.column + 1})"
    if "integer string conversion" in str(failure):
        return "a number has more than 4300 digits"
    return " ".join(str(failure).split())


class _Words(yaml.SafeLoader):
    """YAML in which a word is a text, unless it says null; a tag that asks for anything else is refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012  as the class that it changes has it
        letter: [entry for entry in entries if entry[0].endswith((":null", ":merge"))]
        for letter, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.endswith((":null", ":str", ":seq", ":map"))
    }

    def fetch_more_tokens(self) -> None:
        """Stop at lists too deep in each other: the scanner takes time as the square of the depth."""
        if max(self.flow_level, len(self.indents)) > DEEPEST + 1:
            raise RecursionError
        super().fetch_more_tokens()


def _toml(text: str) -> Any:
    if _LONG_KEY.search(text):  # for which the parser would take memory as the square of its length
        raise RecursionError
    return tomllib.loads(text)


def _yaml(text: str | bytes) -> Any:
    loader = _Words(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_bombs(node)
        document: Any = loader.construct_document(node)  # pyright: ignore[reportUnknownMemberType]
        return document
    finally:
        loader.dispose()


def _refuse_bombs(root: yaml.Node) -> None:
    """Count the values that the aliases of a text stand for, before any of them is made."""
    waiting: list[tuple[Any, int]] = [(root, 0)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise RecursionError
        if isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in node.value]
        elif isinstance(node, yaml.MappingNode):
            waiting += [(child, depth + 1) for pair in node.value for child in pair]


def _check(value: Any) -> None:
    """Raise if a value lies too deep, or is a text or a number that no file, name or screen can take."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if depth > DEEPEST:
            raise RecursionError
        if is_mapping(item):
            waiting += [(child, depth + 1) for pair in item.items() for child in pair]
        elif is_listed(item):
            waiting += [(child, depth + 1) for child in item]
        elif isinstance(item, int) and item.bit_length() > _MOST_BITS:
            raise ValueError(f"a whole number has more than {_MOST_BITS} bits")
        elif isinstance(item, str) and not item.isprintable():
            if any("\ud800" <= letter <= "\udfff" for letter in item):  # half of a pair, which no file takes
                raise ValueError(f"the text {shown(item)} holds what is no character; leave it out")


def is_loopback(address: str) -> bool:
    """True for an address, or name, at which this machine alone reaches itself."""
    if address == "localhost":
        return True
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False
