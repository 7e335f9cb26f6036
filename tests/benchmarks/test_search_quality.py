"""The comparison on NAS-Bench-201: how rows are made, judged, kept and summed up. No search is run here."""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict, replace

import pytest
import torch

from base_fast.distributions import IndependentEdges
from base_fast.errors import InputError
from base_fast.space import NAS_BENCH_201, Genotype, decode
from benchmarks import evidence_quality, search_quality
from benchmarks.reliability import reliability
from benchmarks.search_quality import Outcome, Row, genotype_column, judged, main, summary
from tests.objectives.toys import accuracy, all_cells, table, write_csv

BEST = decode(all_cells()[accuracy(all_cells()).argmax()].numpy(), NAS_BENCH_201)


def rows(method: str, percentiles: list[float], column: str = "test") -> list[Row]:
    return [Row(method, s, column, p, BEST.compact(), 40.0, 0.01, 2.0) for s, p in enumerate(percentiles)]


def test_percentiles_are_shares_of_strictly_better_cells() -> None:
    assert isinstance(BEST, Genotype)
    found = list(judged(Outcome(BEST, IndependentEdges.uniform(NAS_BENCH_201), 3.0), table(), "scratch", 5))
    assert [row.column for row in found] == ["valid", "test"]
    assert found[0].percentile == 0.0
    assert (found[0].method, found[0].seed, found[0].cpu_seconds) == ("scratch", 5, 3.0)
    # Of uniform cells half are better than a cell on average, and about one in a hundred is in the top per cent.
    assert found[1].mean_percentile == pytest.approx(50.0, abs=4.0)
    assert found[1].top1_share == pytest.approx(0.01, abs=0.012)


def test_the_summary_pairs_seeds() -> None:
    text = summary(rows("prior", [1.0, 2.0, 3.0]) + rows("scratch", [11.0, 12.0, 13.0]) + rows("evolution", [5.0]))
    assert "prior is better than scratch by 10.00 points, 95 %: 10.00 – 10.00" in text
    assert "prior is better than evolution by 4.00 points" in text
    line = next(line for line in text.splitlines() if "prior    " in line)
    assert line.split()[:5] == ["test", "prior", "3", "2.00", "2.00"]


def test_the_column_of_cells_is_found_wherever_it_stands(tmp_path) -> None:
    path = tmp_path / "t.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(f"index,acc,structure\n0,50.0,{BEST.compact()}\n")
    assert genotype_column(path) == "structure"
    path.write_bytes(gzip.compress(b"index,acc\n0,50.0\n"))
    with pytest.raises(InputError, match="no column of cell strings"):
        genotype_column(path)


def test_rows_that_are_there_are_not_computed_again(tmp_path, capsys) -> None:
    csv, out = write_csv(tmp_path / "t.csv.gz"), tmp_path / "rows.json"
    kept = rows("prior", [1.0, 2.0]) + rows("uniform", [40.0, 60.0])
    out.write_text(json.dumps([asdict(row) for row in kept]))
    arguments = ["--accuracy", str(csv), "--columns", "test", "--methods", "prior,uniform", "--json", str(out)]
    assert main([*arguments, "--seeds", "0,1"]) == 0
    assert "prior" in capsys.readouterr().out
    assert json.loads(out.read_text()) == [asdict(row) for row in kept]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--methods", "magic"], "methods: got 'magic'"),
        (["--columns", "nope"], "no column 'nope'"),
        (["--minutes", "0"], "minutes: got 0.0"),
        (["--seeds", "a"], "seeds: got 'a'"),
    ],
)
def test_bad_arguments(tmp_path, capsys, change, message) -> None:
    csv = write_csv(tmp_path / "t.csv.gz")
    arguments = ["--accuracy", str(csv), "--columns", "test", "--seeds", "0", "--json", str(tmp_path / "rows.json")]
    assert main([*arguments, *change]) == 2
    assert message in capsys.readouterr().err


def test_evidence_refuses_what_cannot_be_ranked(tmp_path, capsys) -> None:
    csv = write_csv(tmp_path / "t.csv.gz")
    assert evidence_quality.main(["--accuracy", str(csv), "--cells", "2"]) == 2
    assert "cells, steps: got 2, 3000" in capsys.readouterr().err


def test_budgets_scale_with_the_minutes() -> None:
    setting = search_quality.Setting(None, None, 0.5)  # type: ignore[arg-type]
    whole = search_quality.Setting(None, None, 1.0)  # type: ignore[arg-type]
    assert setting.meta(3).iterations == round(whole.meta(3).iterations / 2)
    assert setting.meta(3).warmup < setting.meta(3).iterations
    assert whole.adapt(3).budget == search_quality.ADAPT.budget


def test_reliability_compares_probabilities_with_what_other_seeds_derived() -> None:
    sure, derived = torch.tensor([[[0.8, 0.2], [0.0, 1.0]]]), torch.tensor([[0, 1]])
    bins = reliability([sure, sure], [derived, torch.tensor([[1, 1]])])
    assert [(b.low, b.high, b.count) for b in bins] == [(0.0, 0.1, 2), (0.1, 0.3, 2), (0.7, 0.9, 2), (0.9, 1.0, 2)]
    assert [b.predicted for b in bins] == pytest.approx([0.0, 0.2, 0.8, 1.0])
    # Each search is judged by the other's genotype alone: the first edge was 1 there once, and 0 once.
    assert [b.observed for b in bins] == [0.0, 0.5, 0.5, 1.0]
    assert reliability([sure], [derived]) == []
    found = [replace(row, probabilities=[[0.0, 0.0, 0.0, 1.0, 0.0]] * 6) for row in rows("scratch", [1.0, 2.0])]
    same = BEST.compact().count("nor_conv_3x3")
    assert f"scratch: probabilities of 0.9 to 1.0, 1.00 on average: other seeds derived it in {same / 6:.2f} of 12" in (
        summary(found)
    )
