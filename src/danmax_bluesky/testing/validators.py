"""What the validators of NeXus say of our files."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import h5py


def pynxtools_remarks(path: Path, *, undocumented: bool = False) -> set[str]:
    """What pynxtools finds against the entries and subentries that name a definition.

    Args:
        path: a NeXus file.
        undocumented: remark on what a definition does not know, too.

    Returns:
        Path, problem and value of each remark in one word: "/entry/titleValidationProblem.InvalidTypeNone".

    Raises:
        ImportError: pynxtools is not installed.
        ValueError: nothing in the file names a definition.
    """
    validation = _module("pynxtools.dataconverter.validation")
    found: set[str] = set()
    for name, definition in definitions(path):
        with h5py.File(path) as file:
            validation.validate_hdf_group_against(definition, file[name], str(path), not undocumented)
        found |= validation.collector.get()
    return found


def nexusformat_counts(path: Path) -> tuple[int, int]:
    """How many warnings and errors nexusformat has on the entries and subentries that name a definition.

    Raises:
        ImportError: nexusformat is not installed.
        ValueError: nothing in the file names a definition.
    """
    validate = _module("nexusformat.nexus.validate")
    counts: list[tuple[int, int]] = []
    for name, _ in definitions(path):
        validate.validators.clear()  # which remember the lengths of the file before
        counts.append(validate.validate_application(str(path), name))
    return sum(warned for warned, _ in counts), sum(wrong for _, wrong in counts)


def definitions(path: Path) -> list[tuple[str, str]]:
    """Path of every entry and subentry that names an application definition, and which.

    Raises:
        ValueError: there is none.
    """
    with h5py.File(path) as file:
        found = [(str(group.name), group["definition"].asstr()[()]) for group in _entries(file)]
    if not found:
        raise ValueError(f"{path}: nothing names an application definition")
    return found


def _entries(file: h5py.File) -> list[Any]:
    below = [node for entry in file.values() for node in (entry, *entry.values())]
    groups = [node for node in below if isinstance(node, h5py.Group)]
    return [
        group for group in groups if group.attrs.get("NX_class") in ("NXentry", "NXsubentry") and "definition" in group
    ]


def _module(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
