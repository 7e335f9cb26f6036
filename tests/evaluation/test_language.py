"""Language models: their size, what they say, how they are trained, and the same bits after an interruption."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.evaluation import count_parameters
from base_fast.evaluation import language_training as training
from base_fast.evaluation.bptt import BpttConfig, Reader, in_columns, mean_loss
from base_fast.evaluation.language_model import (
    Dropout,
    LanguageModel,
    LanguageModelConfig,
    hidden_for,
    load_language_model,
    save_language_model,
)
from base_fast.evaluation.language_training import LanguageTrainConfig, train_language
from base_fast.nn.recurrent import build_cell
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space.recurrent import PUBLISHED
from base_fast.tasks.text import Corpus, Vocabulary

V2 = PUBLISHED["DARTS_RNN_V2"]
WORDS = Vocabulary(("<unk>", "<eos>", *"abcdefgh"), "characters")
SMALL = LanguageModelConfig(hidden=6, device="cpu")
CONFIG = LanguageTrainConfig(
    batch_size=4, bptt=6, bptt_spread=1.0, epochs=6, lr=20.0, clip=1.0, patience=1, log_every=3
)


def corpus(words: int = 240) -> Corpus:
    """A text in which each letter says which comes next, but for every seventh."""
    text = torch.tensor([2 + (i if i % 7 else i * i) % 8 for i in range(words)])
    return Corpus("letters", WORDS, text, text[:60], text[:0])


def test_the_published_cell_has_its_published_parameters() -> None:
    with torch.device("meta"):
        model = LanguageModel(build_cell(V2, 850, 850), 10_000)
    assert count_parameters(model) == 22_960_000


@pytest.mark.parametrize("baseline", ["tanh_rnn", "lstm"])
def test_baselines_of_equal_size(baseline: Any) -> None:
    with torch.device("meta"):
        parameters = count_parameters(LanguageModel(build_cell(V2, 64, 64), 1000))
        hidden = hidden_for(baseline, parameters, 1000)
        found = [
            count_parameters(LanguageModel(build_cell(baseline, h, h), 1000)) for h in (hidden - 1, hidden, hidden + 1)
        ]
    assert abs(found[1] - parameters) <= min(abs(found[0] - parameters), abs(found[2] - parameters))


def test_embedding_and_classifier_share_their_weights() -> None:
    model = SMALL.build(V2, 10, seed=0).double()
    said = model(torch.tensor([[3, 4]]), model.initial(2))
    expected = said.hidden @ model.embedding.t() + model.bias
    torch.testing.assert_close(said.logits, expected)
    assert said.dropped is said.hidden and said.state.shape == (1, 2, 6)


@pytest.mark.parametrize("cell", [V2, "lstm"])
def test_the_loss_of_a_text_counts_every_word_once(cell: Any) -> None:
    model = SMALL.build(cell, 10, seed=0).double()
    text = corpus().train[:23]
    log_p = model(text[:-1].unsqueeze(1), model.initial(1)).logits.log_softmax(-1)
    expected = -log_p[torch.arange(22), 0, text[1:]].mean().item()
    assert mean_loss(model, text, columns=1, rows=5) == pytest.approx(expected, rel=1e-12)
    halves = [mean_loss(model, part, columns=1) for part in (text[:11], text[11:22])]
    assert mean_loss(model, text, columns=2, rows=4) == pytest.approx(sum(halves) / 2, rel=1e-12)


def test_a_reader_goes_through_the_text_and_begins_again() -> None:
    model, text = SMALL.build(V2, 10, seed=0), torch.arange(100) % 10
    reader = Reader(text, BpttConfig(batch_size=3, bptt=7, bptt_spread=2.0), key(0))
    place, rows, state = reader.start(model), [], torch.ones(1, 3, 6)
    for step in range(30):
        segment = reader.segment(place, step)
        rows.append(segment.words)
        after = reader.after(place, segment, state, model)
        assert torch.equal(segment.following, reader.columns[place.row + 1 : place.row + 1 + len(segment.words)])
        assert after.state.sum().item() == (0.0 if after.passes > place.passes else 18.0)
        place = after
    assert place.passes >= 3
    # Of 33 rows the last is only predicted.
    assert torch.equal(torch.cat(rows)[:32], in_columns(text, 3)[:32]) and torch.equal(torch.cat(rows)[32], rows[0][0])
    assert len({len(segment) for segment in rows}) > 3
    with pytest.raises(InputError, match="batch_size: got 60 columns for 100 words"):
        in_columns(text, 60)


def test_dropout_leaves_out_the_same_at_all_times() -> None:
    model = SMALL.build("tanh_rnn", 10, seed=0)
    dropout = Dropout(output=0.5, hidden=0.0, inputs=0.0, embedding=0.0)
    said = model(torch.zeros(5, 4, dtype=torch.int64), model.initial(4), dropout, torch.Generator().manual_seed(1))
    ratio = said.dropped / said.hidden
    assert set(ratio[0].flatten().round().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_a_model_learns_and_keeps_what_did_best(tmp_path: Path) -> None:
    model, text = SMALL.build("lstm", 10, seed=0), corpus()
    config = replace(CONFIG, clip=0.25, dropout=Dropout(0.0, 0.0, 0.0, 0.0))
    result = train_language(model, text, config)
    assert result.perplexity < 0.5 * len(WORDS)
    assert mean_loss(model, text.valid) == pytest.approx(result.loss, rel=1e-6)
    save_language_model(tmp_path / "m.safetensors", model, "lstm", SMALL, WORDS)
    again, vocabulary = load_language_model(tmp_path / "m.safetensors")
    assert vocabulary == WORDS and mean_loss(again, text.valid) == mean_loss(model, text.valid)


def test_averages_are_those_of_asgd() -> None:
    """From the moment of the switch on, weights and averages are PyTorch's."""
    model, text = SMALL.build("tanh_rnn", 10, seed=0).double(), corpus()
    process = training._Training(model, text, replace(CONFIG, lr=2.0, clip=0.0, weight_decay=0.01, bptt_spread=0.0))
    theirs = SMALL.build("tanh_rnn", 10, seed=0).double()
    optimizer = torch.optim.ASGD(theirs.parameters(), lr=2.0, lambd=0.0, t0=0.0, weight_decay=0.01)
    state = process.start(training.Clock()).state._replace(averaging=True, average=training._copied(process.weights))
    for step in range(4):
        segment = process.reader.segment(state.place, step)
        said = theirs(segment.words, state.place.state, CONFIG.dropout, training.noise(process.noise_key, step))
        loss = CONFIG.penalized(said, training.negative_log_likelihood(said, segment.following))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        state = process.step(state, training.Clock(total=100)).state
        if step == 0:  # whose weights PyTorch leaves out: its first average is that of the second step
            state = state._replace(averaged=0)
    for mine, average, other in zip(process.weights, state.average, theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
        torch.testing.assert_close(average, optimizer.state[other]["ax"])


@pytest.mark.parametrize("at", [4, 40])
def test_a_training_resumes_in_the_middle_of_a_pass_to_the_same_bits(at: int, tmp_path: Path, monkeypatch: Any) -> None:
    """At step 40 the weights are being averaged; the hidden state is not zero at either."""
    whole, text = SMALL.build("lstm", 10, seed=0), corpus()
    expected = train_language(whole, text, CONFIG)
    assert expected.history[0]["averaged"] == 0.0
    assert expected.history[-1]["averaged"] == 1.0
    run, calls = RunFolder.create(tmp_path / "r", "train-language", CONFIG), 0
    move = BpttConfig.move

    def interrupting(self: BpttConfig, weights: Any, gradients: Any, words: int) -> float:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGINT)
        return move(self, weights, gradients, words)

    monkeypatch.setattr(LanguageTrainConfig, "move", interrupting)
    with pytest.raises(Interrupted):
        train_language(SMALL.build("lstm", 10, seed=0), text, CONFIG, run)
    tensors, header = run.load_checkpoint("train/language_model") or ({}, {})
    assert tensors["state"].abs().sum() > 0 and header["process"]["row"] > 0
    assert header["process"]["averaging"] == (at == 40)
    other: dict[str, Tensor] = {}
    resumed = SMALL.build("lstm", 10, seed=9)
    found = train_language(resumed, text, CONFIG, run)
    assert found.history == expected.history
    other = resumed.state_dict()
    assert all(torch.equal(x, other[name]) for name, x in whole.state_dict().items())
    with pytest.raises(InputError, match=r"lr: got 3\.0, expected 20\.0"):
        train_language(resumed, text, replace(CONFIG, lr=3.0), run)


def test_divergence_and_bad_settings_are_one_line() -> None:
    with pytest.raises(Diverged, match="a smaller lr"):
        train_language(SMALL.build("tanh_rnn", 10, 0), corpus(), replace(CONFIG, lr=1e38, clip=0.0, slowness=1e30))
    for name, value in (("lr", -1.0), ("bptt", 0), ("clip", math.nan), ("steps", 0)):
        with pytest.raises(InputError, match=name):
            replace(CONFIG, **{name: value})
    with pytest.raises(InputError, match="hidden"):
        Dropout(hidden=1.0)
    with pytest.raises(InputError, match="hidden: got 0"):
        LanguageModelConfig(0)
