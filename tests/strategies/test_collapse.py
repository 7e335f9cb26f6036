"""The monitor of skip connections, on histories that are written down."""

from __future__ import annotations

import pytest

from base_fast.errors import InputError
from base_fast.strategies import SkipMonitor


def history(*skips: int) -> list[dict[str, int]]:
    return [{"step": 10 * (i + 1), "skips": count} for i, count in enumerate(skips)]


def test_it_warns_of_the_first_and_stops_never_by_default():
    monitor = SkipMonitor()
    assert monitor.warning(history(0, 3, 2)) is None
    warning = monitor.warning(history(0, 3, 4, 6))
    assert warning is not None and "4 in the normal cell at step 30 (limit 4)" in warning
    assert not monitor.stops(history(6, 6, 6)) and not monitor.suspects(6)


def test_it_stops_when_enough_measurements_in_a_row_show_it():
    for patience, at in ((1, 2), (2, 5), (3, 6)):
        monitor = SkipMonitor(stop_at=3, patience=patience)
        rows = history(1, 3, 0, 3, 5, 4)
        stops = [i + 1 for i in range(len(rows)) if monitor.stops(rows[: i + 1])]
        assert stops[0] == at
    assert SkipMonitor(stop_at=3).suspects(3) and not SkipMonitor(stop_at=3).suspects(2)
    assert not SkipMonitor(stop_at=1).stops([])


def test_bad_settings_are_refused():
    for wrong in ({"warn_at": 0}, {"stop_at": 0}, {"patience": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SkipMonitor(**wrong)
