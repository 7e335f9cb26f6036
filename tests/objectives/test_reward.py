"""Rewards, against their formulas on paper, and what a search that follows one comes to."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.objectives import Limit, ObjectiveConfig, Quantity, RewardConfig, Rewarded, Table, TableConfig, Term
from base_fast.objectives.config import open_objective
from base_fast.random import key
from base_fast.space import NAS_BENCH_201
from base_fast.strategies import AskTellSearch, Enas, PolicyGradient, Reinforce, search
from tests.objectives import toys

ACCURACY = Term("accuracy", 1.0, 0.0, 100.0)
VALUES = torch.tensor([[80.0, 2.0], [90.0, 4.0], [95.0, 8.0]], dtype=torch.float64)


def table(values: torch.Tensor = VALUES) -> Table:
    quantities = (Quantity("accuracy", "larger", "%"), Quantity("ms", "smaller", "ms"))
    return Table(NAS_BENCH_201, toys.all_cells()[: len(values)], quantities, values)


def rewards(*limits: Limit, terms: tuple[Term, ...] = (ACCURACY,)) -> list[float]:
    objective = Rewarded(table(), RewardConfig(terms, limits))
    found = objective.measure(objective.objective.choices, key(0))
    assert [quantity.name for quantity in objective.quantities] == ["reward", "accuracy", "ms"]
    assert torch.equal(found.values[:, 1:], VALUES) and found.costs.shape == (3, 1)
    return found.values[:, 0].tolist()


def test_rewards_are_their_formulas():
    assert rewards() == pytest.approx([0.8, 0.9, 0.95])
    mixed = (Term("accuracy", 0.3, 0.0, 100.0), Term("ms", 0.7, 10.0, 0.0))
    assert rewards(terms=mixed) == pytest.approx([0.3 * a / 100 + 0.7 * (1 - t / 10) for a, t in VALUES.tolist()])
    assert rewards(Limit("ms", 4.0)) == pytest.approx([0.8, 0.9, 0.0])
    assert rewards(Limit("ms", 4.0, "slope", 0.5)) == pytest.approx([0.8, 0.9, -0.5])
    assert rewards(Limit("ms", 4.0, "absolute", 0.07)) == pytest.approx([0.8 - 0.035, 0.9, 0.95 - 0.07])
    assert rewards(Limit("ms", 4.0, "power", 0.07)) == pytest.approx([0.8 * 2**0.07, 0.9, 0.95 * 2**-0.07])
    # MONAS's constraint on accuracy: cheap, but no worse than 85 %.
    cheap = (Term("ms", 1.0, 10.0, 0.0),)
    assert rewards(Limit("accuracy", 85.0), terms=cheap) == pytest.approx([0.0, 0.6, 0.2])
    # Nothing inside is worse than outside.
    assert rewards(Limit("ms", 4.0), terms=(Term("accuracy", 1.0, 85.0, 95.0),)) == pytest.approx([0.0, 0.5, 0.0])


def test_what_does_not_fit_is_refused():
    for config, message in [
        (RewardConfig((Term("loss"),)), "terms: got quantity 'loss', expected one of accuracy, ms"),
        (RewardConfig((ACCURACY, ACCURACY)), "'accuracy' 2 times"),
        (RewardConfig((Term("ms", 1.0, 0.0, 10.0),)), "expected best below worst"),
        (RewardConfig((ACCURACY,), (Limit("loss", 1.0),)), "limits: got quantity 'loss'"),
    ]:
        with pytest.raises(InputError, match=message):
            Rewarded(table(), config)
    with pytest.raises(InputError, match="quantity of that name"):
        Rewarded(Rewarded(table(), RewardConfig((ACCURACY,))), RewardConfig((ACCURACY,)))
    for wrong, message in [
        (lambda: RewardConfig(()), "terms: got none"),
        (lambda: Limit("ms", 0.0), "bound: got 0.0"),
        (lambda: Term(weight=-1.0), "weight: got -1.0"),
        (lambda: Term(worst=float("nan")), "worst: got nan"),
    ]:
        with pytest.raises(InputError, match=message):
            wrong()


@pytest.mark.parametrize(
    "strategy",
    [Reinforce(lr=0.2), Enas(PolicyGradient(lr=0.02, decay=0.9, aggregate=1, hidden=16))],
    ids=["pg", "lstm"],
)
def test_a_policy_learns_to_keep_a_limit(strategy):
    choices = toys.all_cells()
    cost = (choices[:, 0] == 3).sum(1).double()
    quantities = (Quantity("accuracy", "larger", "%"), Quantity("ms", "smaller", "ms"))
    every = Table(NAS_BENCH_201, choices, quantities, torch.stack((toys.accuracy(choices), cost), 1))
    limited = Rewarded(every, RewardConfig((ACCURACY,), (Limit("ms", 0.5),)))
    history = search(AskTellSearch(strategy, limited, 150, key(3))).history
    kept = [row["values"]["ms"] <= 0.5 for row in history]
    assert sum(kept[:30]) < 20 < 27 <= sum(kept[-30:])
    assert [row["values"]["reward"] > 0.0 for row in history] == kept


def test_a_reward_is_a_section_of_the_configuration(tmp_path):
    csv = toys.write_csv(tmp_path / "t.csv.gz")
    tables = (TableConfig(csv, ("valid",)), TableConfig(csv, ("ms",), "smaller", "ms"))
    reward = RewardConfig((Term("valid"),), (Limit("ms", 9.0),))
    objective = open_objective(ObjectiveConfig(tables=tables, reward=reward), NAS_BENCH_201)
    assert [quantity.name for quantity in objective.quantities] == ["reward", "valid", "ms"]
    values = objective.measure(toys.all_cells()[::99], key(0)).values
    assert torch.equal(values[:, 0] > 0.0, values[:, 2] <= 9.0)
