"""Look a name up in a table of the package, with an error that helps when it is not there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from base_fast.errors import InputError

T = TypeVar("T")


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of `table` called `name`; raises InputError with near matches, else with all names."""
    if isinstance(name, str) and name in table:
        return table[name]
    # Case is the most frequent slip (darts_v2), so matching ignores it.
    folded = {known.lower(): known for known in table}
    near = difflib.get_close_matches(str(name).lower(), folded, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(folded[n] for n in near)}?" if near else f"expected one of {', '.join(table)}"
    raise InputError(f"{kind}: no {name!r}; {hint}")
