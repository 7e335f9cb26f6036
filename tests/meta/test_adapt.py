"""Adaptation: what it learns, when it stops, what it reports, and how it resumes."""

from __future__ import annotations

import importlib
import math
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from base_fast import Supernet, adapt
from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.meta import (
    Adaptation,
    AdaptConfig,
    Budget,
    InnerConfig,
    Schedule,
    StepRule,
    Variables,
    accuracy_and_loss,
)
from base_fast.meta.architecture import Draws
from base_fast.objectives.shared_weights import path_scores
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.tasks import Augmentation, Split, Task, whole_task
from tests.meta import toys

LOOP = importlib.import_module("base_fast.runs.loop")
NET = toys.supernet()
START = toys.prior(NET)
TASK = toys.task(key(5))
INNER = InnerConfig(
    z="soft",
    batch_size=5,
    mu=StepRule("sgd", 0.05, momentum=0.5),
    rho=StepRule("adam", 0.01),
    alpha=StepRule("adam", 0.05),
    beta_z=0.5,
)
CONFIG = AdaptConfig(inner=INNER, budget=Budget(steps=6), evaluate_every=2, checkpoint_every=2, step_size=Schedule())
ROW = {
    "phase", "step", "time", "loss", "nll", "kl_theta", "kl_z", "train_accuracy", "gradient_norm", "entropy", "none",
    "skip", "none_edges", "skip_edges", "max_probability", "sigma_drift", "mu_moved",
}  # fmt: skip
EVALUATED = {"accuracy", "valid_loss", "probabilities"}


class PowerCut(Exception):
    pass


class Acting(Split):
    """Does something when batch number `at` is drawn."""

    at: int
    action: Callable[[], None]

    def batch(
        self, key: Tensor, step: int, batch_size: int, augmentation: Augmentation | None = None
    ) -> tuple[Tensor, Tensor]:
        if step == self.at:
            self.action()
        return super().batch(key, step, batch_size, augmentation)


def acting(at: int, action: Callable[[], None]) -> Task:
    t = TASK.train
    train = Acting(t.images, t.labels, t.num_classes, t.mean, t.std)
    object.__setattr__(train, "at", at)
    object.__setattr__(train, "action", action)
    return replace(TASK, train=train)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def cut() -> None:
    raise PowerCut


def folder(path: Path, config: AdaptConfig = CONFIG) -> RunFolder:
    return RunFolder.create(path, "adapt", config, resume=True)


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in rows]


def test_learns_held_out_digits() -> None:
    pytest.importorskip("sklearn")
    from base_fast.tasks import SourceConfig, open_source

    task = whole_task(open_source(SourceConfig(classes="5-9")), resolution=8, key=key(0))
    net = Supernet(toys.TOY, channels=8, layers=1, num_classes=5, reductions=(0,))
    config = AdaptConfig(
        inner=InnerConfig(z="soft", beta_z=0.0, batch_size=20),
        budget=Budget(steps=60),
        evaluate_every=20,
        evaluate_images=None,
        step_size=Schedule(),
    )
    adaptation = adapt(net.prior(key(0)), task, config)
    assert [row["step"] for row in adaptation.history] == [0, 20, 40, 60]
    assert adaptation.history[0]["accuracy"] < 0.4
    assert adaptation.accuracy > 0.85
    assert adaptation.history[-1]["loss"] < adaptation.history[0]["loss"] - 0.8
    reached = adaptation.steps_to(0.6)
    assert reached is not None
    assert 0 < reached < 60


def test_steps_to() -> None:
    scores = ((0, 0.1), (5, 0.6), (10, 0.5), (15, 0.8))
    history = [{"step": s, "accuracy": a, "loss": 1.0, "seconds": 0.0} for s, a in scores]
    adaptation = Adaptation(START, history, 15, 1.0, "steps", Draws.none(toys.TOY))
    assert [adaptation.steps_to(a) for a in (0.1, 0.55, 0.6, 0.7, 0.9)] == [0, 5, 5, 15, None]
    assert adaptation.accuracy == 0.8


def test_deterministic_and_dependent_on_the_seed() -> None:
    a, b = adapt(START, TASK, CONFIG), adapt(START, TASK, CONFIG)
    assert toys.same_bits(a.posterior, b.posterior)
    assert untimed(a.history) == untimed(b.history)
    assert not toys.same_bits(a.posterior, adapt(START, TASK, replace(CONFIG, seed=1)).posterior)


def test_the_given_posterior_is_left_alone() -> None:
    copies = [x.clone() for x in (START.mu, START.rho, START.alpha)]
    adapt(START, TASK, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(copies, (START.mu, START.rho, START.alpha), strict=True))


def test_logging_and_evaluating_change_nothing(tmp_path: Path) -> None:
    plain = adapt(START, TASK, replace(CONFIG, evaluate_every=0))
    assert [row["step"] for row in plain.history] == [0, 6]
    assert toys.same_bits(plain.posterior, adapt(START, TASK, CONFIG, run=folder(tmp_path / "run")).posterior)


def test_rows(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    adaptation = adapt(START, TASK, CONFIG, run=run, name="adapt/prior")
    rows = run.rows("adapt/prior")
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert set(rows[0]) == {"phase", "step", "time", "accuracy", "valid_loss"}
    for row in rows[1:]:
        assert set(row) == (ROW | EVALUATED if row["step"] % 2 == 0 else ROW)
        assert row["loss"] == pytest.approx(row["nll"] + 0.5 / len(TASK.train) * row["kl_z"])
    assert [row["accuracy"] for row in rows[::2]] == [row["accuracy"] for row in adaptation.history]
    last = torch.tensor(rows[-1]["probabilities"], dtype=torch.float64)
    assert torch.equal(last, adaptation.posterior.probabilities)


def test_lineage_and_head(tmp_path: Path) -> None:
    adaptation = adapt(START, toys.task(key(5), 2), replace(CONFIG, inner=replace(INNER, head="own")))
    posterior = adaptation.posterior
    event = posterior.lineage[-1]
    assert (event["event"], event["task"], event["steps"]) == ("adapt", "toy", 6)
    assert Supernet.for_posterior(posterior).config.num_classes == 2
    posterior.save(tmp_path / "posterior.safetensors")
    assert toys.same_bits(type(posterior).load(tmp_path / "posterior.safetensors"), posterior)
    # The prior of what follows is the adapted posterior, with its head.
    kept = replace(CONFIG, inner=replace(INNER, head="kept"))
    further = adapt(posterior, toys.task(key(5), 2), kept)
    assert further.history[0]["loss"] == adaptation.history[-1]["loss"]


@pytest.mark.parametrize("head", ["zeroed", "own"])
def test_a_zeroed_head_starts_at_ln_classes(head: Any) -> None:
    history = adapt(START, TASK, replace(CONFIG, inner=replace(INNER, head=head))).history
    assert history[0]["loss"] == pytest.approx(math.log(3), abs=1e-12)
    kept = adapt(START, TASK, replace(CONFIG, inner=replace(INNER, head="kept"))).history
    assert abs(kept[0]["loss"] - math.log(3)) > 1e-3


@pytest.mark.parametrize("head", ["zeroed", "kept"])
def test_another_number_of_classes_needs_a_head_of_its_own(head: Any) -> None:
    with pytest.raises(InputError, match="set head to 'own'"):
        adapt(START, toys.task(key(5), 2), replace(CONFIG, inner=replace(INNER, head=head)))


def test_budget_of_steps() -> None:
    adaptation = adapt(START, TASK, replace(CONFIG, budget=Budget(steps=3)))
    assert (adaptation.steps, adaptation.stopped) == (3, "steps")
    # The end is always evaluated.
    assert [row["step"] for row in adaptation.history] == [0, 2, 3]


def clock(monkeypatch: pytest.MonkeyPatch, tick: float) -> None:
    """Time that passes by `tick` seconds each time somebody looks."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += tick
        return now[0]

    monkeypatch.setattr(LOOP, "time", SimpleNamespace(monotonic=monotonic))


def test_budget_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch, 1.0)
    config = replace(CONFIG, budget=Budget(steps=None, seconds=50.0))
    short = adapt(START, TASK, config)
    assert short.stopped == "seconds"
    assert short.seconds >= 50.0
    longer = adapt(START, TASK, replace(config, budget=Budget(steps=None, seconds=200.0)))
    assert longer.steps > 2 * short.steps > 2
    assert adapt(START, TASK, replace(config, budget=Budget(steps=2, seconds=50.0))).stopped == "steps"


def test_seconds_count_on_after_an_interruption(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock(monkeypatch, 1.0)
    run = folder(tmp_path / "run")
    with pytest.raises(Interrupted):
        adapt(START, acting(3, interrupt), CONFIG, run=run)
    found = run.load_checkpoint("adapt")
    assert found is not None
    before = found[1]["seconds"]
    assert before > 0.0
    assert adapt(START, TASK, CONFIG, run=run).seconds > before


def test_budget_of_entropy() -> None:
    budget = Budget(steps=40, entropy_tolerance=1e-9, entropy_window=4)
    still = replace(CONFIG, budget=budget, inner=replace(INNER, alpha=StepRule("sgd", 0.0)))
    settled = adapt(START, TASK, still)
    assert (settled.steps, settled.stopped) == (4, "entropy")
    # During the warm-up alpha stands still, which says nothing.
    waiting = adapt(START, TASK, replace(still, warmup=3))
    assert (waiting.steps, waiting.stopped) == (7, "entropy")
    moving = adapt(START, TASK, replace(CONFIG, budget=replace(budget, steps=8)))
    assert (moving.steps, moving.stopped) == (8, "steps")


def test_warmup(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    adapt(START, TASK, replace(CONFIG, warmup=4, evaluate_every=1), run=run)
    recorded = [torch.tensor(row["probabilities"], dtype=torch.float64) for row in run.rows("adapt")[1:]]
    assert [torch.equal(pi, START.probabilities) for pi in recorded] == [True] * 4 + [False] * 2


def test_schedules(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []
    inner = importlib.import_module("base_fast.meta.inner")
    original = inner.elbo

    def spy(*arguments: Any, tau: float, noise: float, **others: Any) -> Any:
        seen.append((tau, noise))
        return original(*arguments, tau=tau, noise=noise, **others)

    monkeypatch.setattr(inner, "elbo", spy)
    config = replace(CONFIG, warmup=1, tau=Schedule(1.0, 0.2), noise=Schedule(0.0, 1.0))
    adapt(START, TASK, config)
    assert [tau for tau, _ in seen] == pytest.approx([1.0, 1.0, 0.8, 0.6, 0.4, 0.2])
    assert [noise for _, noise in seen] == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.75, 1.0])
    seen.clear()
    clock(monkeypatch, 1.0)
    adapt(START, TASK, replace(config, budget=Budget(steps=None, seconds=60.0), warmup=0))
    noises = [noise for _, noise in seen]
    assert noises == sorted(noises)
    assert 0.0 < noises[0] < 0.3
    assert 0.7 < noises[-1] <= 1.0


@pytest.mark.parametrize(("action", "error"), [(interrupt, Interrupted), (cut, PowerCut)], ids=["ctrl-c", "power-cut"])
@pytest.mark.parametrize("at", [0, 1, 3, 4])
def test_resumed_equals_uninterrupted(
    tmp_path: Path, action: Callable[[], None], error: type[Exception], at: int
) -> None:
    whole = adapt(START, TASK, CONFIG, run=folder(tmp_path / "whole"))
    with pytest.raises(error):
        adapt(START, acting(at, action), CONFIG, run=folder(tmp_path / "cut"))
    done = at + 1 if action is interrupt else at // 2 * 2
    found = RunFolder.open(tmp_path / "cut").load_checkpoint("adapt")
    assert (0 if found is None else found[1]["steps"]) == done
    resumed = adapt(START, acting(done - 1, cut), CONFIG, run=folder(tmp_path / "cut"))
    assert toys.same_bits(resumed.posterior, whole.posterior)
    assert untimed(resumed.history) == untimed(whole.history)
    assert (resumed.steps, resumed.stopped) == (whole.steps, whole.stopped)
    rows = [untimed(RunFolder.open(tmp_path / name).rows()) for name in ("cut", "whole")]
    assert rows[0] == rows[1]


def test_interruption_says_how_far_it_got(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="^adapt/x: stopped after 3 of 6 steps$"):
        adapt(START, acting(2, interrupt), CONFIG, run=folder(tmp_path / "run"), name="adapt/x")


def test_entropies_are_resumed(tmp_path: Path) -> None:
    still = replace(
        CONFIG,
        budget=Budget(steps=40, entropy_tolerance=1e-9, entropy_window=5),
        inner=replace(INNER, alpha=StepRule("sgd", 0.0)),
    )
    run = folder(tmp_path / "run", still)
    with pytest.raises(Interrupted):
        adapt(START, acting(2, interrupt), still, run=run)
    assert adapt(START, TASK, still, run=run).steps == 5


def test_a_finished_adaptation_takes_no_more_steps(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    first = adapt(START, TASK, CONFIG, run=run)
    rows = untimed(run.rows())
    again = adapt(START, acting(6, cut), CONFIG, run=run)
    assert toys.same_bits(first.posterior, again.posterior)
    assert untimed(first.history) == untimed(again.history)
    assert untimed(run.rows()) == rows


def test_checkpoint_of_another_configuration(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    adapt(START, TASK, CONFIG, run=run)
    with pytest.raises(InputError, match=r"^checkpoint adapt: .*written under another configuration$"):
        adapt(START, TASK, replace(CONFIG, inner=replace(INNER, mu=StepRule("adam", 0.01))), run=run)
    own = replace(CONFIG, inner=replace(INNER, head="own"))
    with pytest.raises(InputError, match=r"^checkpoint adapt: got .* for mu, expected .* written under another"):
        adapt(START, toys.task(key(5), 2), own, run=run)


def test_diverged(tmp_path: Path) -> None:
    config = replace(CONFIG, inner=replace(INNER, clip=0.0, sample_theta=False))
    run = folder(tmp_path / "run", config)
    # From batch 3 on, the images are no numbers.
    mean = TASK.train.mean.clone()

    def spoil() -> None:
        mean.fill_(math.nan)

    broken = acting(3, spoil)
    object.__setattr__(broken.train, "mean", mean)
    expected = r"^adapt: after 3 of 6 steps: inner step 3: loss nan, .*; the checkpoint after 2 of 6 steps is kept$"
    with pytest.raises(Diverged, match=expected) as caught:
        adapt(START, broken, config, run=run)
    assert "\n" not in str(caught.value)
    found = run.load_checkpoint("adapt")
    assert found is not None
    assert found[1]["steps"] == 2
    assert all(bool(torch.isfinite(x).all()) for x in found[0].values())
    assert toys.same_bits(adapt(START, TASK, config, run=run).posterior, adapt(START, TASK, config).posterior)
    run.close()


def test_diverged_with_nothing_saved() -> None:
    config = replace(CONFIG, inner=replace(INNER, mu=StepRule("sgd", 1e300), clip=0.0))
    said = r"^adapt: after \d of 6 steps: inner step \d: loss (nan|inf).*; no checkpoint was written yet$"
    with pytest.raises(Diverged, match=said):
        adapt(START, TASK, config)


def test_warning_of_a_strong_pull() -> None:
    beta = 0.2 * len(TASK.train) * START.sigma.min().item() ** 2 / 1e-3
    strong = replace(CONFIG, inner=replace(INNER, mu=StepRule("sgd", 1e-3), beta_theta=beta))
    with pytest.warns(UserWarning, match=r"pulls the means back by 0\.2 "):
        adapt(START, TASK, strong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapt(START, TASK, replace(strong, inner=replace(strong.inner, mu=StepRule("natural", 1e-3))))


@pytest.mark.parametrize(("images", "sizes"), [(None, [3, 3, 3]), (5, [3, 2]), (4, [4]), (100, [3, 3, 3])])
def test_evaluation_batches_are_even(images: int | None, sizes: list[int]) -> None:
    seen: list[int] = []

    def spy(x: Tensor, *arguments: Any) -> Tensor:
        seen.append(len(x))
        return NET(x, *arguments)

    q = Variables.of(START)
    accuracy, loss = path_scores(spy, q.mu, START.probabilities, TASK.valid, False, images, 4)  # type: ignore[arg-type]
    assert seen == sizes
    logits, labels = [], []
    for x, y in replace(TASK.valid, images=TASK.valid.images[:images], labels=TASK.valid.labels[:images]).batches(
        sizes[0]
    ):
        logits.append(NET(x.double(), q.mu, START.probabilities))
        labels.append(y)
    every, right = torch.cat(logits), torch.cat(labels)
    assert accuracy == pytest.approx((every.argmax(1) == right).double().mean().item())
    assert loss == pytest.approx(torch.nn.functional.cross_entropy(every, right).item())


def test_hard_evaluation_runs_the_most_probable_primitives() -> None:
    q = Variables.of(START)
    one_hot = torch.nn.functional.one_hot(START.alpha.argmax(-1), 4).double()
    x, y = next(iter(TASK.valid.batches(9)))
    expected = torch.nn.functional.cross_entropy(NET(x.double(), q.mu, one_hot), y).item()
    assert accuracy_and_loss(NET, q, TASK.valid, at="hard")[1] == pytest.approx(expected)
    assert accuracy_and_loss(NET, q, TASK.valid)[1] != pytest.approx(expected)
