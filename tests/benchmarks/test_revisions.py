"""A revision timed against itself: the same bits, and a row for every case."""

from __future__ import annotations

import pytest

from benchmarks.revisions import HERE, main


def test_a_revision_has_the_bits_of_itself(capsys):
    main([str(HERE), "--quick", "--rounds", "2"])
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert table[0].startswith("| case | here, ms | there, ms |")
    assert len(table) == 4
    assert all(row.endswith("| same bits |") for row in table[2:])


def test_a_checkout_without_an_environment_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no environment in .venv; run make install there"):
        main([str(tmp_path), "--quick"])
