"""What a search of recurrent cells is worth: its cell beside random ones, tanh RNN and LSTM, equally large and trained.

    python -m benchmarks.language --train valid.txt.gz --test test.txt.gz --out runs/language

DARTS searches on the text of `--train`, of which the last tenth is held out; then its cell, random cells and the two
baselines, with the hidden units that give them the same number of parameters, are trained from scratch alike. Each seed
has a search, random cells and first weights of its own. What is done is kept in OUT/rows.jsonl, and is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from base_fast.evaluation import count_parameters
from base_fast.evaluation.bptt import mean_loss
from base_fast.evaluation.language_model import Dropout, LanguageModelConfig, hidden_for
from base_fast.evaluation.language_training import LanguageTrainConfig, perplexity, train_language
from base_fast.experiments.intervals import student_interval
from base_fast.nn.recurrent import Baseline
from base_fast.reports.tables import ResultTable, to_markdown
from base_fast.space import RECURRENT, Genotype
from base_fast.strategies import search
from base_fast.strategies.language_search import LanguageOneShotConfig, LanguageSearch
from base_fast.tasks.text import Corpus, TextConfig, open_corpus

DROPOUT = Dropout(output=0.2, hidden=0.1, inputs=0.2, embedding=0.1)
BASELINES: tuple[Baseline, ...] = ("tanh_rnn", "lstm")


def measured(cell: Genotype | Baseline, corpus: Corpus, hidden: int, config: LanguageTrainConfig) -> dict[str, Any]:
    """Perplexities of a model of this cell after its training."""
    began = time.process_time()
    model = LanguageModelConfig(hidden, device="cpu").build(cell, len(corpus.vocabulary), config.seed)
    result = train_language(model, corpus, config)
    test = perplexity(mean_loss(model, corpus.test)) if len(corpus.test) else None
    return {
        "cell": cell.compact() if isinstance(cell, Genotype) else cell,
        "hidden": hidden,
        "parameters": count_parameters(model),
        "valid": result.perplexity,
        "test": test,
        "cpu_seconds": time.process_time() - began,
    }


def searched(corpus: Corpus, hidden: int, steps: int, seed: int) -> tuple[Genotype, float]:
    """The cell that DARTS derives, and the CPU seconds that it took."""
    began = time.process_time()
    config = LanguageOneShotConfig(steps=steps, batch_size=32, dropout=DROPOUT, evaluate_every=steps)
    model = LanguageModelConfig(hidden, device="cpu")
    genotype = search(LanguageSearch("darts", config, RECURRENT, corpus, model, seed)).genotype
    assert isinstance(genotype, Genotype), "a space with cells has genotypes with cells"
    return genotype, time.process_time() - began


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows, those that were there and those that were missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    corpus = open_corpus(TextConfig(options.train, test=options.test, vocabulary=options.vocabulary))
    config = LanguageTrainConfig(steps=options.steps, batch_size=32, dropout=DROPOUT)

    def keep(seed: int, who: str, found: dict[str, Any]) -> None:
        rows.append({"seed": seed, "who": who, **found})
        with path.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")

    for seed in range(options.seeds):
        done = {row["who"]: row for row in rows if row["seed"] == seed}
        seeded = LanguageTrainConfig(**{**vars(config), "seed": seed})
        if "search" not in done:
            cell, seconds = searched(corpus, options.hidden, options.search_steps, seed)
            keep(seed, "search", {"cell": cell.compact(), "cpu_seconds": seconds})
        cells: dict[str, Genotype | Baseline] = {"DARTS's cell": Genotype.parse(rows_of(rows, "search", seed)["cell"])}
        cells |= {f"random {i}": Genotype.random(RECURRENT, 1000 * seed + i) for i in range(options.random)}
        cells |= {name: name for name in BASELINES}
        for who, cell in cells.items():
            if who not in done:
                hidden = options.hidden
                if not isinstance(cell, Genotype):
                    hidden = hidden_for(cell, rows_of(rows, "DARTS's cell", seed)["parameters"], len(corpus.vocabulary))
                keep(seed, who, measured(cell, corpus, hidden, seeded))
    return rows


def rows_of(rows: list[dict[str, Any]], who: str, seed: int) -> dict[str, Any]:
    """The row of one model of one seed."""
    return next(row for row in rows if row["who"] == who and row["seed"] == seed)


def table(rows: list[dict[str, Any]]) -> ResultTable:
    """Perplexities by seed, means and intervals, and how the found cells stand to the others."""
    seeds = sorted({row["seed"] for row in rows})
    groups = ["DARTS's cell", "random", *BASELINES]
    found: dict[str, list[list[float]]] = {}
    out = []
    for group in groups:
        each = [[r for r in rows if r["seed"] == seed and r["who"].startswith(group)] for seed in seeds]
        found[group] = [[row["valid"] for row in some] for some in each]
        means = [statistics.fmean(values) for values in found[group]]
        interval = student_interval(means)
        test = [row["test"] for some in each for row in some if row["test"] is not None]
        out.append(
            (
                group,
                each[0][0]["parameters"],
                " ".join(f"{mean:.1f}" for mean in means),
                statistics.fmean(means),
                "–" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}",
                statistics.fmean(test) if test else None,
            )
        )
    own = [values[0] for values in found["DARTS's cell"]]
    below = [
        (statistics.fmean(others) - mine) / statistics.stdev(others)
        for mine, others in zip(own, found["random"], strict=True)
    ]
    ratios = [
        f"{statistics.fmean(mine / other[0] for mine, other in zip(own, found[name], strict=True)):.3f} of {name}'s"
        for name in BASELINES
    ]
    notes = (
        "DARTS's cell is below the mean of the random ones by "
        + ", ".join(f"{x:.2f}" for x in below)
        + " of their standard deviations, seed by seed; its perplexity is "
        + " and ".join(ratios)
        + ".",
        f"{sum(row['cpu_seconds'] for row in rows) / 60:.1f} CPU minutes.",
    )
    columns = ("cell", "parameters", "validation perplexity by seed", "mean", "95 % interval", "test")
    return ResultTable("Recurrent cells, equally large and trained", columns, tuple(out), notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--train", type=Path, default=None)
    parser.add_argument("--test", type=Path, default=None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=170)
    parser.add_argument("--search-steps", type=int, default=150)
    print(to_markdown(table(run(parser.parse_args()))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
