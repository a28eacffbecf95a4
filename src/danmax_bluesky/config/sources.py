"""Where settings come from: a file, environment variables and options, in rising order of precedence."""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from danmax_bluesky.config.models import Settings, default_detectors, default_motors, default_snapshot
from danmax_bluesky.config.place import said_since
from danmax_bluesky.errors import SettingsError

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
        raw = _merged(base, raw)
        origin = dict.fromkeys(_dotted(raw), "as recorded") | origin
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES:
            key = variable.removeprefix(PREFIX).lower().replace("__", ".")
            _put(raw, key, _parse(value))
            origin[key] = f"environment variable {variable}"
    for key, value in (options or {}).items():
        _put(raw, key, _parse(value) if isinstance(value, str) else value)
        origin[key] = f"option {key}"
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
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    try:
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"settings file {path} is no valid {path.suffix.lstrip('.') or 'YAML'}: {error}") from None
    if not isinstance(content or {}, dict):
        raise SettingsError(f"settings file {path} must hold keys and values, not a {type(content).__name__}")
    return content or {}


def _with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    """Let a partial entry for a known motor, detector or value of the snapshot change only what it names."""
    merged = dict(raw)
    named = {"motors": default_motors(), "detectors": default_detectors(), "snapshot": default_snapshot()}
    for key, defaults in named.items():
        given = raw.get(key)
        if isinstance(given, dict):
            known = {name: model.model_dump() for name, model in defaults.items()}
            merged[key] = known | {
                name: {**known.get(name, {}), **entry} if isinstance(entry, dict) else entry
                for name, entry in given.items()
            }
    return merged


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.replace("-", "_").split(".")
    for part in parents:
        child = tree.get(part)
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    tree[last] = value


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees in one; where both say something, the second wins."""
    both = {
        key: _merged(base[key], over[key]) if isinstance(base[key], dict) and isinstance(over[key], dict) else over[key]
        for key in base.keys() & over.keys()
    }
    return {**base, **over, **both}


def _parse(text: str) -> Any:
    """An option or a variable is read as YAML, so that numbers, lists and null can be said; anything else is text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, bool):
        return value if text.strip().lower() in ("true", "false") else text  # "off" is a word, not a falsehood
    if isinstance(value, int):
        return value if str(value) == text.strip() else text  # 0012 is the name of a folder, not an octal number
    if value is None:
        return None if text.strip() else text
    if isinstance(value, dict):
        return value if text.lstrip().startswith("{") else text  # "PANDA:" is the prefix of a device
    return value if isinstance(value, float | list) else text


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")


def _explain(error: ValidationError, origin: Mapping[str, str]) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        source = origin.get(key)
        where = f" ({source})" if source else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _siblings(problem["loc"])
            close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            yield f"unknown setting {key!r}{where} = {problem['input']!r}: {hint}allowed here: {', '.join(known)}"
        elif problem["type"] == "missing":
            yield f"setting {key!r} is missing"
        elif key:
            yield f"setting {key!r}{where} = {problem['input']!r}: {message}"
        else:
            yield message


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:  # a part is a field of the model so far, or a name or an index inside a container
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            candidates = [annotation, *get_args(annotation)]
            model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return sorted(model.model_fields)
