"""Optional sections of a command's settings, `--target.valid.path` and the like, as ordinary options.

A section that a file or a default leaves out comes into being with the first of its options; `--target.valid none`
leaves one out that a file has.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from base_fast.errors import InputError

C = TypeVar("C")


def open_sections(command: C, words: Sequence[str]) -> tuple[C, list[str]]:
    """The command with the sections that the words speak of, and the words without those that say nothing else.

    A request for help speaks of all sections, and leaves out those that the other settings refuse.
    """
    spoken = _Words(words)
    return _opened(command, "", spoken), spoken.rest


class _Words:
    """The words of a command line, and the sections that they name."""

    def __init__(self, words: Sequence[str]) -> None:
        self.rest = list(words)
        self.help = any(word in ("-h", "--help") for word in words)

    def opens(self, path: str) -> bool | None:
        """Whether the words want the section at `path` ("target.valid"); None where they don't speak of it."""
        wanted: bool | None = True if self.help else None
        rest = iter(self.rest)
        kept: list[str] = []
        for word in rest:
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            if name == f"--{path}":
                value = value if equals else next(rest, "")
                wanted = value.lower() != "none"
                if wanted:
                    kept += [word] if equals else [word, value]  # no such option: for the parser to say
                continue
            # How tyro writes the choice among a section's types.
            if word.startswith(f"{path}:"):
                wanted = word != f"{path}:none"
                continue
            if name.startswith(f"--{path}.") and wanted is None:
                wanted = True
            kept.append(word)
        self.rest = kept
        return wanted


def _opened(value: Any, prefix: str, words: _Words) -> Any:
    changed: dict[str, Any] = {}
    for name, path, section in _parts(type(value), prefix):
        now = getattr(value, name)
        then = now
        if section is not None and (wanted := words.opens(path)) is not None:
            then = (section() if now is None else now) if wanted else None
        if is_dataclass(then):
            then = _opened(then, f"{path}." if path else "", words)
        if then is not now:
            changed[name] = then
    if words.help:
        for name, then in changed.items():
            with suppress(InputError):
                value = replace(value, **{name: then})
        return value
    return replace(value, **changed) if changed else value


def _parts(cls: Any, prefix: str) -> Iterator[tuple[str, str, Any]]:
    """Field, option and (where the field is an optional section) type of the section, for each field of a dataclass."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        if field.init:
            flat = field.name == "settings"
            path = prefix.rstrip(".") if flat else prefix + field.name.replace("_", "-")
            yield field.name, path, _section(hints[field.name])


def _section(hint: Any) -> Any:
    if get_origin(hint) not in (Union, types.UnionType) or type(None) not in get_args(hint):
        return None
    return next((member for member in get_args(hint) if is_dataclass(member)), None)
