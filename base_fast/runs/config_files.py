"""Frozen dataclasses as TOML files, checked against their annotations, and back without loss."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import numpy as np
import tomli_w

from base_fast.errors import InputError
from base_fast.runs.storage import atomic_write

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
# Characters of a value that a message quotes.
QUOTED = 100
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 3, 8, 8, 8
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = QUOTED


def load_config(path: str | Path, cls: type[T]) -> T:
    """Read a `.toml` file as an instance of the dataclass `cls`; absent keys take their defaults.

    Raises InputError when the file cannot be read or parsed, or has an unknown key, a wrong type or a bad choice.
    """
    mapping = _parse(Path(path))
    try:
        return from_dict(cls, mapping)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def save_config(path: str | Path, config: Any) -> None:
    """Write a dataclass as a `.toml` file, such that `load_config` gives an equal one.

    TOML has no null: a None that is the field's default is left out, another one is written as "none".
    Raises InputError for another suffix, and for a value that would not come back equal.
    """
    path = Path(path)
    _check_suffix(path)
    try:
        atomic_write(path, config_text(config).encode())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def config_text(config: Any) -> str:
    """What `save_config` writes; raises InputError for a value that would not come back equal."""
    text = tomli_w.dumps(_plain(config, null="none"))
    if from_dict(type(config), tomllib.loads(text)) != config:
        raise InputError(f"cannot write {config!r} such that it reads back equal; expected values of its types")
    return text


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested dicts, lists and scalars: what JSON can hold, and what `from_dict` reads."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"config: expected an instance of a dataclass, got {config!r}")
    plain: dict[str, Any] = _plain(config, null=None)
    return plain


def _plain(value: Any, null: str | None) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(field, getattr(value, field.name)) for field in dataclasses.fields(value) if field.init]
        # Where None cannot be written, leaving it out says the same, if it is the default.
        omit = null is not None
        return {f.name: _plain(v, null) for f, v in items if not (omit and v is None and f.default is None)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, null) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item, null) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    return null if value is None else value


def from_dict(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Build the dataclass `cls` from nested mappings, lists and scalars.

    Understands nested dataclasses, bool, int, float, str, Path, Literal, Optional and other unions, tuple, list, dict.
    Raises InputError that names the path of the key, the value given and the value expected.
    """
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"cls: expected a dataclass, got {cls!r}")
    return typing.cast(T, _dataclass(cls, mapping, ""))


def _dataclass(cls: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(path, value, f"a table of {cls.__name__}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in value:
        if key not in fields:
            raise InputError(
                f"{_join(path, key)}: unknown key{_suggest(key, fields)}; expected one of {_listed(fields)}"
            )
    hints = typing.get_type_hints(cls)
    arguments = {name: _value(hints[name], value[name], _join(path, name)) for name in fields if name in value}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in arguments:
            raise InputError(f"{_join(path, name)}: missing; expected {_describe(hints[name])}")
    try:
        return cls(**arguments)
    except InputError as error:
        raise InputError(f"{path}: {error}" if path else str(error)) from None


def _value(hint: Any, value: Any, path: str) -> Any:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        # By type as well: 1 == True == 1.0.
        for choice in members:
            if type(choice) is type(value) and choice == value:
                return choice
        raise InputError(f"{path}: got {_short(value)}{_suggest(value, members)}; expected {_describe(hint)}")
    if origin in (Union, types.UnionType):
        return _union(hint, members, value, path)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, path)
    if origin in (tuple, list):
        return _sequence(hint, origin, members, value, path)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(path, value, _describe(hint))
        return {key: _value(members[1], item, _join(path, key)) for key, item in value.items()}
    return _scalar(hint, value, path)


def _union(hint: Any, members: tuple[Any, ...], value: Any, path: str) -> Any:
    optional = type(None) in members
    if value is None and optional:
        return None
    others = [member for member in members if member is not type(None)]
    # An exact match first: int | float must not turn 1 into 1.0, whichever is named first.
    others.sort(key=lambda member: member is not type(value))
    errors = []
    for member in others:
        try:
            return _value(member, value, path)
        except InputError as error:
            if len(others) == 1 or (isinstance(value, Mapping) and dataclasses.is_dataclass(member)):
                errors.append(error)
    if optional and isinstance(value, str) and value.lower() == "none":
        return None
    if len(errors) == 1 and isinstance(value, (Mapping, list, tuple)):
        raise errors[0]  # the only candidate knows which of its keys is wrong
    raise _wrong(path, value, _describe(hint))


def _sequence(hint: Any, origin: type, members: tuple[Any, ...], value: Any, path: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _wrong(path, value, _describe(hint))
    if origin is list or members[-1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(value) != len(members):
        raise InputError(f"{path}: got {len(value)} values ({_short(value)}); expected {_describe(hint)}")
    return origin(_value(m, item, f"{path}[{i}]") for i, (m, item) in enumerate(zip(members, value, strict=True)))


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    # type, not isinstance: a bool is an int to Python, but not to a reader of the file.
    if hint in (bool, int, float, str) and type(value) is hint:
        return value
    if hint in (bool, int, float, str, Path):
        raise _wrong(path, value, _describe(hint))
    raise TypeError(f"{path}: configuration files cannot hold fields of type {hint}")


def _join(path: str, key: object) -> str:
    name = str(key)
    name = name if len(name) <= QUOTED else f"{name[: QUOTED - 3]}..."
    return f"{path}.{name}" if path else name


def _wrong(path: str, value: Any, expected: str) -> InputError:
    return InputError(f"{path or 'configuration'}: got {_short(value)} ({type(value).__name__}); expected {expected}")


def _short(value: Any) -> str:
    """What a message quotes of a value, of which it takes no more than that to write."""
    text = _REPR.repr(value)
    return text if len(text) <= QUOTED else f"{text[: QUOTED - 3]}..."


def _describe(hint: Any) -> str:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {_listed(members)}"
    if origin in (Union, types.UnionType):
        return " or ".join("none" if member is type(None) else _describe(member) for member in members)
    if origin in (tuple, list) and (origin is list or members[-1] is Ellipsis):
        return f"a list of {_describe(members[0])}"
    if origin is tuple:
        return f"a list of {len(members)} values ({', '.join(_describe(member) for member in members)})"
    if origin is dict:
        return f"a table of {_describe(members[1])}"
    if dataclasses.is_dataclass(hint):
        return f"a table of {getattr(hint, '__name__', hint)}"
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Path: "a path"}
    return names.get(hint, str(hint))


def _listed(choices: Iterable[object]) -> str:
    return ", ".join(str(choice) for choice in choices)


def _suggest(word: object, choices: Iterable[object]) -> str:
    if len(str(word)) > QUOTED:
        return ""
    close = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _check_suffix(path: Path) -> None:
    if path.suffix != ".toml":
        raise InputError(f"{path}: got suffix '{path.suffix}'; expected a TOML file, .toml")


def _parse(path: Path) -> Mapping[str, Any]:
    _check_suffix(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; expected a configuration file") from None
    except RecursionError:
        raise InputError(f"{path}: not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # of the parser, of the text's encoding, of integers with thousands of digits
        raise InputError(f"{path}: not valid TOML: {' '.join(str(error).split())}") from None
