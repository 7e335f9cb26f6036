from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from base_fast.errors import InputError
from base_fast.space import DARTS, Genotype, genotypes

SHARED = Path(os.environ.get("BASE_FAST_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FACTS = SHARED / "facts" / "architectures.json"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    if not FACTS.is_file():
        pytest.skip(f"{FACTS} is not there; set BASE_FAST_SHARED to the folder that holds facts/architectures.json")
    data: dict[str, Any] = json.loads(FACTS.read_text())["genotypes"]
    return data


def test_the_zoo_is_the_facts_file(facts: dict[str, Any]) -> None:
    assert set(genotypes.ALL) == set(facts) == set(genotypes.SOURCES)
    for name, fact in facts.items():
        fields = {key: fact[key] for key in ("normal", "normal_concat", "reduce", "reduce_concat")}
        assert genotypes.ALL[name] == Genotype(**fields), name
        assert getattr(genotypes, name) is genotypes.ALL[name]
        assert genotypes.SOURCES[name] == fact["source"]


@pytest.mark.parametrize("name", genotypes.ALL)
def test_every_published_cell_is_valid_and_round_trips(name: str) -> None:
    genotype = genotypes.ALL[name]
    genotype.validate()
    assert Genotype.parse(genotype.compact()) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize(
    "name", ["DARTS_V1", "DARTS_V2", "BASE_CIFAR_TUNED", "BASE_IMAGENET_TUNED", "PDARTS", "SNAS_mild"]
)
def test_cells_searched_in_the_darts_space_lie_in_it(name: str) -> None:
    genotypes.ALL[name].validate(DARTS)


@pytest.mark.parametrize("name", ["NASNet", "AmoebaNet", "PNASNet5", "ENASNet"])
def test_cells_with_five_nodes_do_not_lie_in_the_darts_space(name: str) -> None:
    with pytest.raises(InputError, match="normal: 10 pairs; the space darts expects 8"):
        genotypes.ALL[name].validate(DARTS)


def test_known_entries() -> None:
    assert genotypes.DARTS_V2.normal[:2] == (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))
    assert genotypes.BASE_IMAGENET_TUNED.reduce[:2] == (("max_pool_3x3", 0), ("sep_conv_5x5", 0))
    assert genotypes.AmoebaNet.reduce_concat == (3, 4, 6)


def test_get() -> None:
    assert genotypes.get("DARTS_V2") is genotypes.DARTS_V2
    with pytest.raises(InputError, match=r"genotype: no 'darts_v2'; did you mean DARTS_V2"):
        genotypes.get("darts_v2")
    with pytest.raises(InputError, match="genotype: no 'zzzz'; expected one of DARTS_V1, DARTS_V2"):
        genotypes.get("zzzz")
