"""Search spaces on the command line: an option takes a name; a table of one's own comes from the configuration file."""

from __future__ import annotations

from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from base_fast.space import Space


def named_spaces() -> ConstructorRegistry:
    """tyro's rules, and one for fields that are a `Space` or its name: they stay options with one word."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def rule(found: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if found.type != str | Space:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="NAME",
            instance_from_str=lambda words: words[0],
            is_instance=lambda value: isinstance(value, str | Space),
            str_from_instance=lambda value: [value.name if isinstance(value, Space) else value],
        )

    return registry
