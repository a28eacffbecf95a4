"""Files as accidents and ill will leave them: what hypothesis draws, done to a sound file."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5s, h5t
from hypothesis import strategies as st

Damage = tuple[Any, ...]
_TOKEN = re.compile(rb'"[^"\n]*"|[-+]?\d[\d.eE+-]*|\w+|[\[\]{}:=,]')
_NASTY = (
    *(b"null", b"true", b'""', b"''", b"{}", b"[]", b"[[]]", b"0", b"-1", b"1.5", b"1e999", b"NaN", b"-inf", b"12:30"),
    *(b"2026-13-45", b"9" * 5000, b"0x" + b"f" * 40, b"[" * 3000, b'{"a":' * 3000, b"a." * 3000, b"- " * 3000),
    *(b"&a [*a]", b"*a", b"!!python/name:os.system", b"<<: *a", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"\\ud800"'),
    *(b'"../../x"', b'"/dev/zero"', b"'", b'"', b"\n", b"\r", b"\t", b"\\", b"#", b": ", b"_" * 300, b"%s%n"),
    *('"é"'.encode(), "µ".encode(), b'"x"', b"[1, 2, 3]", b"[-1, 5, 0]", b'["a", "b"]', b'{"x": 1}', b"~", b"..."),
)
_BOMB = b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40))
INSTEAD = ("pipe", "folder", "nothing", "empty", "endless", "loop", "bomb")
"""What may stand where a file should: a pipe that nobody writes to, a device without end, a link to itself..."""


def texts() -> st.SearchStrategy[list[Damage]]:
    """What may happen to a text: words of it replaced, left out, doubled; bytes changed; cut short; or no file."""
    place = st.floats(0, 1, exclude_max=True)
    word = st.sampled_from(_NASTY)
    once = st.one_of(
        st.tuples(st.just("replace"), place, word),
        st.tuples(st.just("replace"), place, word),
        st.tuples(st.just("insert"), place, word),
        st.tuples(st.just("leave out"), place),
        st.tuples(st.just("double"), place),
        st.tuples(st.just("bytes"), place, st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("cut"), place),
    )
    return st.one_of(
        st.lists(once, min_size=1, max_size=4), st.sampled_from(INSTEAD).map(lambda what: [("instead", what)])
    )


def garble_text(path: Path, damages: list[Damage]) -> None:
    """Damage a text file."""
    for name, *how in damages:
        if name == "instead":
            _put_instead(path, how[0])
            return
        content = path.read_bytes()
        tokens = list(_TOKEN.finditer(content))
        if not tokens:
            return
        token = tokens[int(how[0] * len(tokens))]
        first, last = token.span()
        middle = {
            "replace": lambda how=how: how[1],
            "insert": lambda how=how, token=token: token[0] + how[1],
            "leave out": lambda: b"",
            "double": lambda token=token: token[0] + b" " + token[0],
            "bytes": lambda how=how: how[1],
            "cut": lambda: b"",
        }[name]()
        path.write_bytes(content[:first] + middle + (b"" if name == "cut" else content[last:]))


def _put_instead(path: Path, what: str) -> None:
    path.unlink()
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "nothing": lambda: None,
        "empty": path.touch,
        "endless": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
        "bomb": lambda: path.write_bytes(_BOMB),
    }[what]()


def hdf5_files() -> st.SearchStrategy[list[Damage]]:
    """What may happen to an HDF5 file: an object or an attribute is another, bytes are changed; another thing there."""
    place = st.floats(0, 1, exclude_max=True)
    once = st.one_of(
        st.tuples(st.just("object"), place, st.sampled_from(sorted(_OBJECTS))),
        st.tuples(st.just("object"), place, st.sampled_from(sorted(_OBJECTS))),
        st.tuples(st.just("attribute"), place, st.sampled_from(range(len(_ATTRIBUTES)))),
        st.tuples(st.just("bytes"), place, st.binary(min_size=1, max_size=16)),
        st.tuples(st.just("cut"), place),
    )
    return st.one_of(
        st.lists(once, min_size=1, max_size=3), st.sampled_from(INSTEAD).map(lambda what: [("instead", what)])
    )


def garble_hdf5(path: Path, damages: list[Damage]) -> None:
    """Damage an HDF5 file; what lies in it first, then its bytes."""
    order = {"object": 0, "attribute": 0, "bytes": 1, "cut": 2, "instead": 3}
    for name, *how in sorted(damages, key=lambda damage: order[damage[0]]):
        if name == "instead":
            _put_instead(path, how[0])
        elif name in ("object", "attribute"):
            with h5py.File(path, "r+", libver="latest") as file:
                _change(file, name, *how)
        else:
            content = path.read_bytes()
            place = int(how[0] * len(content))
            changed = content[:place] + (b"" if name == "cut" else how[1] + content[place + len(how[1]) :])
            path.write_bytes(changed)


def _change(file: h5py.File, name: str, place: float, how: Any) -> None:
    paths = sorted(_paths(file))
    if not paths:
        return
    path = paths[int(place * len(paths))]
    if name == "object":
        del file[path]
        _OBJECTS[how](file, path)
        return
    attributes: Any = file[path].attrs if path in file else {}
    names = sorted(attributes)
    if names:
        attributes[names[int(place * 7919) % len(names)]] = _ATTRIBUTES[how]


def _paths(group: h5py.Group, prefix: str = "", depth: int = 0) -> list[str]:
    """Every object and link, not followed."""
    found = []
    for name in group:
        path = f"{prefix}/{name}"
        found.append(path)
        if isinstance(group.get(name, getlink=True), h5py.HardLink) and depth < 12:
            node = group[name]
            if isinstance(node, h5py.Group):
                found += _paths(node, path, depth + 1)
    return found


def _virtual(shape: tuple[int, ...], source: str, dataset: str) -> Callable[[h5py.File, str], Any]:
    def make(file: h5py.File, path: str) -> None:
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[...] = h5py.VirtualSource(source, dataset or path, shape)
        file.create_virtual_dataset(path, layout)

    return make


def _numbered(file: h5py.File, path: str) -> None:
    shown, making = h5s.create_simple((0, 4), (h5s.UNLIMITED, 4)), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    shown.select_hyperslab((0, 0), (h5s.UNLIMITED, 1), stride=(1, 1), block=(1, 4))
    making.set_virtual(
        shown, Path(file.filename).name.replace("1", "%b").encode(), path.encode(), h5s.create_simple((1, 4))
    )
    h5py.h5d.create(file.id, path.encode(), h5t.IEEE_F32LE, shown, making)


def _deep(file: h5py.File, path: str) -> None:
    group = file.create_group(path)
    for _ in range(600):
        group = group.create_group("a")


_ATTRIBUTES: tuple[Any, ...] = ("", b"\xff", 5, -1.5, np.nan, [1, 2], "NXdata", np.zeros((3, 3)), h5py.Empty("f4"))
_OBJECTS: dict[str, Callable[[h5py.File, str], Any]] = {
    "nothing": lambda file, path: None,
    "group": lambda file, path: file.create_group(path),
    "text": lambda file, path: file.create_dataset(path, data="?"),
    "no text": lambda file, path: file.create_dataset(path, data=np.bytes_(b"\xff\xfe")),
    "number": lambda file, path: file.create_dataset(path, data=-1),
    "not a number": lambda file, path: file.create_dataset(path, data=np.nan),
    "empty": lambda file, path: file.create_dataset(path, data=h5py.Empty("f4")),
    "no rows": lambda file, path: file.create_dataset(path, shape=(0,), dtype="f4"),
    "rows": lambda file, path: file.create_dataset(path, data=np.arange(7)),
    "texts": lambda file, path: file.create_dataset(path, data=["a", "b"]),
    "table": lambda file, path: file.create_dataset(path, data=np.zeros(3, [("a", "i4"), ("b", "f8")])),
    "five axes": lambda file, path: file.create_dataset(path, data=np.zeros((1, 2, 1, 2, 1), "u1")),
    "never written": lambda file, path: file.create_dataset(path, (10**6, 64, 64), "u2", chunks=(1, 64, 64)),
    "huge": lambda file, path: file.create_dataset(path, (10**12,), "f8", chunks=(2**16,)),
    "huge frames": lambda file, path: file.create_dataset(path, (10**9, 10**5, 10**5), "u2", chunks=(1, 256, 256)),
    "virtual of nothing": _virtual((10, 4, 4), "gone.h5", "data"),
    "huge virtual": _virtual((10**12,), "gone.h5", "data"),
    "huge virtual frames": _virtual((10**9, 4, 4), ".", "elsewhere"),
    "virtual of itself": _virtual((10, 4, 4), ".", ""),
    "virtual of numbered files": _numbered,
    "link to itself": lambda file, path: file.__setitem__(path, h5py.SoftLink(path)),
    "link to nothing": lambda file, path: file.__setitem__(path, h5py.SoftLink("/gone")),
    "link to the root": lambda file, path: file.__setitem__(path, file["/"]),
    "link to the own file": lambda file, path: file.__setitem__(path, h5py.ExternalLink(file.filename, path)),
    "link to a device": lambda file, path: file.__setitem__(path, h5py.ExternalLink("/dev/zero", "/data")),
    "link to a pipe": lambda file, path: file.__setitem__(path, h5py.ExternalLink(_pipe(file), "/data")),
    "deep": _deep,
}


def _pipe(file: h5py.File) -> str:
    path = Path(file.filename).with_name("pipe")
    if not path.exists():
        os.mkfifo(path)
    return str(path)
