"""Language models from the command line: search, train, evaluate, report, and the same bits after a kill."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast.cli import main
from base_fast.cli.train_language import TrainLanguageSettings
from base_fast.errors import Interrupted
from base_fast.evaluation.bptt import mean_loss
from base_fast.evaluation.language_model import load_language_model
from base_fast.objectives.language import TrainedLanguage
from base_fast.runs import RunFolder, load_config
from base_fast.runs.artefacts import TrainedLanguageModel
from base_fast.space import RECURRENT, Genotype, encode
from base_fast.strategies import language_search, read_search
from base_fast.strategies.language_config import LanguageSearchSettings, open_language_search
from base_fast.tasks.text import open_corpus, read_text

ROOT = Path(__file__).resolve().parents[2]
LESS = {"steps": 4, "epochs": 1, "batch_size": 8, "bptt": 6, "evaluate_every": 2, "hidden": 5, "vocabulary": 60}


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def less(tmp_path: Path) -> Path:
    """The examples with a short text and less of everything."""
    text = "\n".join(f"a {'b' * (i % 3)} c{i % 5} , d{i % 7} ." for i in range(90))
    (tmp_path / "text.txt").write_text(text)
    for name in ("language_search", "train_language"):
        written = (ROOT / f"examples/{name}.toml").read_text()
        for setting, size in LESS.items():
            written = re.sub(rf"^{setting} = \d+", f"{setting} = {size}", written, flags=re.M)
        written = written.replace("[text]\n", f'[text]\ntrain = "{tmp_path}/text.txt"\ntest = "{tmp_path}/text.txt"\n')
        (tmp_path / f"{name}.toml").write_text(written)
    return tmp_path


def test_the_examples_load() -> None:
    assert load_config(ROOT / "examples/language_search.toml", LanguageSearchSettings).model.hidden == 64
    assert load_config(ROOT / "examples/train_language.toml", TrainLanguageSettings).text.train is None


def test_from_a_search_to_a_report(less: Path, capsys: Any) -> None:
    assert run("search-language", "--config", less / "language_search.toml", "--run", less / "s") == 0
    searched = RunFolder.open(less / "s")
    record, genotype = read_search(searched), searched.read("genotype", Genotype)
    assert record is not None and genotype.compact() == record.genotype and genotype.is_recurrent
    assert [row["step"] for row in record.history] == [2, 4]
    train = ("train-language", "--config", less / "train_language.toml", "--run", less / "t")
    assert run(*train, "--genotype", less / "s") == 0
    trained = RunFolder.open(less / "t").read("results", TrainedLanguageModel)
    assert trained.cell == record.genotype and trained.test_perplexity is not None
    capsys.readouterr()
    assert run("evaluate-language", less / "t", "--text", less / "text.txt", "--device", "cpu") == 0
    assert f"perplexity {trained.test_perplexity:.2f}" in capsys.readouterr().out
    assert run("evaluate-language", less / "t") == 0
    assert f"validation: perplexity {trained.perplexity:.2f}" in capsys.readouterr().out
    model, vocabulary = load_language_model(less / "t")
    assert mean_loss(model, vocabulary.encode(read_text("text", less / "text.txt")), 1) > 0
    for folder in ("s", "t"):
        assert run("report", less / folder) == 0
        assert (less / folder / "report/index.html").is_file()


@pytest.mark.parametrize("cell", ["lstm", "darts_rnn_v2", "recurrent: tanh~0 | relu~0 -> 1,2"])
def test_cells_by_name_and_text(cell: str, less: Path, capsys: Any) -> None:
    train = ("train-language", "--config", less / "train_language.toml", "--run", less / "t", "--train.steps", "2")
    assert run(*train, "--genotype", cell) == 0
    assert "2 steps" in capsys.readouterr().out


def test_what_is_wrong_is_one_line(less: Path, capsys: Any) -> None:
    def complaint(*words: object) -> str:
        assert run(*words) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return str(said)

    train = ("train-language", "--config", less / "train_language.toml", "--run", less / "t")
    assert "--genotype: not given" in complaint(*train)
    assert "has no recurrent cell" in complaint(*train, "--genotype", "DARTS_V1")
    assert "train: cannot read" in complaint(*train, "--genotype", "lstm", "--text.train", less / "absent")
    assert "batch_size: got 5000 columns" in complaint(*train, "--genotype", "lstm", "--train.batch_size", "5000")
    assert not (less / "t").exists()


@pytest.mark.parametrize("strategy", ["gdas", "drnas", "snas", "random", "evolution", "enas"])
def test_every_strategy_searches_cells(strategy: str, less: Path) -> None:
    search = ("search-language", "--config", less / "language_search.toml", "--search.strategy", strategy)
    options = ("--search.queries", "2", "--search.nodes", "3", "--train.steps", "2", "--train.batch_size", "8")
    assert run(*search, *options, "--model.device", "cpu", "--run", less / strategy) == 0
    record = read_search(RunFolder.open(less / strategy))
    assert record is not None and record.quantities[0].name == "perplexity"
    assert Genotype.parse(record.genotype).normal_concat == (1, 2, 3)


@pytest.mark.parametrize("strategy", ["darts", "snas"])
def test_a_search_resumes_to_the_same_bits(strategy: str, less: Path, monkeypatch: Any) -> None:
    """It is stopped in the middle of a pass, with hidden states of both texts."""
    search = ("search-language", "--config", less / "language_search.toml", "--search.strategy", strategy)
    assert run(*search, "--run", less / "whole") == 0
    step, calls = language_search.LanguageSearch.step, 0

    def interrupted(self: Any, state: Any, clock: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted("now")
        return step(self, state, clock)

    monkeypatch.setattr(language_search.LanguageSearch, "step", interrupted)
    assert run(*search, "--run", less / "cut") == 130
    tensors, _ = RunFolder.open(less / "cut").load_checkpoint("search") or ({}, {})
    assert tensors["train.state"].abs().sum() > 0
    assert run(*search, "--run", less / "cut", "--resume") == 0
    whole, cut = (RunFolder.open(less / name) for name in ("whole", "cut"))
    assert read_search(whole) == read_search(cut)
    (expected, _), (found, _) = (one.load_checkpoint("search") or ({}, {}) for one in (whole, cut))
    assert expected.keys() == found.keys() and all(torch.equal(x, found[name]) for name, x in expected.items())


def test_a_first_order_step_is_the_gradient_at_the_mean(less: Path) -> None:
    """DARTS moves α along the validation loss's gradient, here against finite differences."""
    settings = load_config(less / "language_search.toml", LanguageSearchSettings)
    search: Any = open_language_search(settings, open_corpus(settings.text))
    search.model.double()
    state = search.start(language_search.Clock()).state
    state = state._replace(valid=search.valid.start(search.model))
    variables = tuple(x.double().requires_grad_(True) for x in state.variables)
    loss, nll, _ = search._loss(search.valid, state.valid, variables, 0, 0)
    (gradient,) = torch.autograd.grad(loss, variables)
    along = torch.sin(torch.arange(gradient.numel(), dtype=torch.float64)).view(gradient.shape)
    ends = [search._loss(search.valid, state.valid, (variables[0] + h * along,), 0, 0)[0].item() for h in (1e-5, -1e-5)]
    assert (gradient * along).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
    assert nll == pytest.approx(loss.item(), rel=1e-2)


def test_a_cell_that_diverges_is_worth_guessing(less: Path) -> None:
    settings = load_config(less / "language_search.toml", LanguageSearchSettings)
    corpus = open_corpus(settings.text)
    config = load_config(less / "train_language.toml", TrainLanguageSettings).train
    object.__setattr__(config, "lr", 1e38)
    object.__setattr__(config, "clip", 0.0)
    choices = torch.from_numpy(
        encode(Genotype.parse("recurrent:" + "identity~0 " * 8 + "-> 1,2,3,4,5,6,7,8"), RECURRENT)
    )
    measured = TrainedLanguage(RECURRENT, corpus, settings.model, config).measure(
        choices.unsqueeze(0), torch.tensor([0, 0])
    )
    assert measured.values[0, 0].item() == pytest.approx(len(corpus.vocabulary))
