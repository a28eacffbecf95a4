"""Where settings come from: a file, environment variables and options, in rising order of precedence."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from danmax_bluesky.config.channels import default_channels
from danmax_bluesky.config.devices import default_detectors, default_motors, default_snapshot
from danmax_bluesky.config.remembered import said_since
from danmax_bluesky.config.settings import Settings
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.parsing import complaints, is_mapping, parse, read_text, shown

PREFIX = "DANMAX_"
SETTINGS_FILE_VARIABLE = "DANMAX_SETTINGS"
_OTHER_VARIABLES = {SETTINGS_FILE_VARIABLE, "DANMAX_TEST_DATA", "DANMAX_BENCH_DIR"}


def load_settings(
    file: Path | str | None = None, options: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings of this session.

    Args:
        file: a TOML or YAML file; None takes the one that `DANMAX_SETTINGS` names, if any.
        options: dotted key -> value, such as {"twin.seed": 3}; they win over environment and file.
        base: settings as another session had them, nested; everything else wins over them, but what `newvisit`,
            `newfolder` and `newsample` said, which then does not count.

    Raises:
        SettingsError: with the key, the value, and what is allowed.
    """
    named = file or os.environ.get(SETTINGS_FILE_VARIABLE)
    raw: dict[str, Any] = _read_file(Path(named)) if named else {}
    origin = {key: str(named) for key in _dotted(raw)}
    if base is not None:
        if not is_mapping(cast(Any, base)):
            raise SettingsError(f"the settings as recorded are no keys and values but {shown(base)}; name a file")
        raw = _merged(base, raw)
        origin = dict.fromkeys(_dotted(raw), "as recorded") | origin
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            key = variable.removeprefix(PREFIX).lower().replace("__", ".")
            _put(raw, key, value)
            origin[key] = f"environment variable {variable}"
    for key, value in (options or {}).items():
        _put(raw, key, value)
        origin[key.replace("-", "_")] = f"option --{key.replace('_', '-')}"
    try:
        settings = Settings.model_validate(_with_defaults(raw))
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, origin))) from None
    if base is not None:
        return settings  # what is done again is done where it was done
    since = {key: value for key, value in said_since(settings).items() if key not in (options or {})}
    return changed(settings, since) if since else settings


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The same settings with another proposal, visit, folder or sample.

    Raises:
        SettingsError: with the key, the value, and what is allowed.
    """
    try:
        return settings.changed(changes)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, {}))) from None


def setting_keys() -> Iterator[tuple[str, str]]:
    """Every setting as a dotted key with its description, those of the default motors and detectors included."""
    named = {"motors": default_motors(), "detectors": default_detectors()}
    for key, description in _keys(Settings, ""):
        if key in named:
            for name, entry in named[key].items():
                yield from _keys(type(entry), f"{key}.{name}.")
        else:
            yield key, description


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _keys(annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.description or ""


def _read_file(path: Path) -> dict[str, Any]:
    where = f"settings file {path}"
    text = read_text(path, SettingsError)
    content = parse(text, "TOML" if path.suffix == ".toml" else "YAML", where, SettingsError)
    if not isinstance(content or {}, dict):
        raise SettingsError(f"{where} must hold keys and values, not {shown(content)}")
    return content or {}


def _with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Let a partial entry for a motor, detector or value of the snapshot that is there change only what it names.

    `false` in the place of an entry leaves that motor, detector, value or channel out.

    What the snapshot would record by itself is left to the motor, the counter or the value around the sample of the
    same name, if the settings name one.
    """
    merged = dict(raw)
    named = {"motors": default_motors(), "detectors": default_detectors(), "snapshot": default_snapshot()}
    for key, defaults in named.items():
        given = raw.get(key, {})
        if is_mapping(given):
            usual = {name: model.model_dump() for name, model in defaults.items()}
            if key == "snapshot":
                devices = [raw.get(setting) for setting in ("motors", "detectors", "counters", "environment")]
                devices_named = {name for entries in devices if is_mapping(entries) for name in entries}
                usual = {name: entry for name, entry in usual.items() if name not in devices_named}
            both = usual | {
                name: {**usual.get(name, {}), **entry} if is_mapping(entry) else entry for name, entry in given.items()
            }
            merged[key] = {name: entry for name, entry in both.items() if not (name in usual and entry is False)}
    channels = raw.get("channels", {})
    if is_mapping(channels):
        named_channels: dict[str, Any] = {**default_channels(), **channels}
        merged["channels"] = {key: name for key, name in named_channels.items() if name is not False}
    return merged


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where its key says; a text becomes what it says, unless the setting is a text itself."""
    path = key.replace("-", "_").split(".")
    if isinstance(value, str):
        value = _meant(value, _annotation(path), key)
    for part in path[:-1]:
        if not isinstance(tree.get(part), dict):
            tree[part] = {}
        tree = tree[part]
    tree[path[-1]] = value


def _meant(text: str, annotation: Any, key: str) -> Any:
    """What a text says: a name where the setting is one, else a number, a list, keys and values, or null."""
    if annotation is None or _is_text(annotation):
        return None if text == "null" and NoneType in get_args(annotation) else text
    if "\0" in text or not text.isascii():
        return text
    return parse(text, "YAML", f"{key} = {shown(text)}", SettingsError)


def _is_text(annotation: Any) -> bool:
    """Whether every value of a setting is a text: a name, a path, one of some words."""
    if get_origin(annotation) is Literal:
        return all(isinstance(word, str) for word in get_args(annotation))
    if isinstance(annotation, type):
        return issubclass(annotation, str | Path)
    members = [member for member in get_args(annotation) if member is not NoneType]
    if get_origin(annotation) is Annotated:
        members = members[:1]
    return bool(members) and get_origin(annotation) not in (dict, tuple) and all(map(_is_text, members))


def _annotation(path: Sequence[int | str]) -> Any:
    """The type of the setting at a place: fields of models, names in mappings, numbers in tuples; None for no such."""
    annotation: Any = Settings
    for part in path:
        model = _model_in(annotation)
        if model is not None:
            field = model.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            inside = get_args(annotation)
            annotation = {dict: inside[-1:], tuple: inside[:1]}.get(get_origin(annotation), (None,))[0]
    return annotation


def _model_in(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees in one; where both say something, the second wins."""
    both = {
        key: _merged(base[key], over[key]) if isinstance(base[key], dict) and isinstance(over[key], dict) else over[key]
        for key in base.keys() & over.keys()
    }
    return {**base, **over, **both}


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if is_mapping(value):
            yield from _dotted(value, f"{prefix}{key}.")


def _explain(error: ValidationError, origin: Mapping[str, str]) -> Iterator[str]:
    for problem in complaints(error):
        key = ".".join(str(part) for part in problem["loc"])
        source = origin.get(key)
        where = f" ({source})" if source else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            allowed = _siblings(problem["loc"])
            close = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            yield f"unknown setting {key!r}{where} = {_shown(key, problem)}: {hint}allowed: {', '.join(allowed)}"
        elif problem["type"] == "missing":
            yield f"setting {key!r} is missing"
        elif key:
            yield f"setting {key!r}{where} = {_shown(key, problem)}: {message}"
        else:
            yield message


def _shown(key: str, problem: Mapping[str, Any]) -> str:
    """A value that cannot be used, unless a secret may be in it."""
    return "***" if key.startswith("catalog.") and key != "catalog.kind" else shown(problem["input"])


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    model = _model_in(_annotation(location[:-1]))
    return sorted(model.model_fields) if model else []
