"""The tables of the benchmarks of recurrent cells and of instance-aware networks."""

from __future__ import annotations

from typing import Any

from benchmarks import instance, language


def test_recurrent_cells_are_compared_seed_by_seed() -> None:
    rows: list[dict[str, Any]] = []
    for seed in (0, 1):
        for who, valid in (
            ("DARTS's cell", 90.0),
            ("random 0", 100.0),
            ("random 1", 104.0),
            ("tanh_rnn", 120.0),
            ("lstm", 80.0),
        ):
            rows.append(
                {"seed": seed, "who": who, "valid": valid + seed, "test": None, "parameters": 7, "cpu_seconds": 30.0}
            )
    table = language.table(rows)
    assert [row[0] for row in table.rows] == ["DARTS's cell", "random", "tanh_rnn", "lstm"]
    assert table.rows[1][2] == "102.0 103.0" and table.rows[0][3] == 90.5
    # 12 below, by a standard deviation of √8.
    assert "by 4.24, 4.24 of their" in table.notes[0] and "0.751 of tanh_rnn's and 1.124 of lstm's" in table.notes[0]
    assert table.notes[1] == "5.0 CPU minutes."


def test_instance_aware_networks_are_compared_with_static_children() -> None:
    row = {"permuted": 0.7, "permuted_p": 0.05, "share": 0.5, "common": 4, "information": 0.2, "information_p": 0.01}
    row |= {"controller": 0.04, "static": 0.75, "static_share": 0.48, "cpu_seconds": 60.0}
    rows: list[dict[str, Any]] = [
        {"what": "pretrained", "seed": seed, "accuracy": 0.9, "milliseconds": 2.0, "cpu_seconds": 0.0}
        for seed in (0, 1)
    ]
    rows += [{"what": "0.7", "seed": seed, "accuracy": 0.8, **row} for seed in (0, 1)]
    rows += [{"what": "latency", "seed": 0, "spearman": 0.97, "error": 0.08, "cpu_seconds": 0.0}]
    table = instance.table(rows)
    assert table.rows[0][:6] == ("0.7", "50.0 %", "80.0 %", "5.0 (5.0 to 5.0)", "48.0 %", "10.0 (10.0 to 10.0)")
    assert table.notes[0] == "Predicted latency, seed 0: Spearman 0.970, mean error 8.0 %."
