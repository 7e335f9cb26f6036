from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base_fast.errors import InputError
from base_fast.runs import from_dict, load_config, save_config, to_dict


@dataclass(frozen=True)
class Part:
    name: str = "a"
    rate: float = 1e-3
    limits: tuple[int, float] = (1, 2.0)


@dataclass(frozen=True)
class Whole:
    rule: Literal["darts", "pairs"] = "darts"
    level: Literal[1, 2] = 1
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    ways: tuple[int, ...] = (5, 10)
    budget: int | None = None
    clip: float | None = 5.0
    folder: Path = Path("data")
    fast: bool = False
    either: int | float | str = 1
    maybe: Part | None = None
    weights: dict[str, float] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    derived: int = field(default=0, init=False)


@dataclass(frozen=True)
class Needs:
    steps: int

    def __post_init__(self):
        if self.steps < 1:
            raise InputError(f"steps: got {self.steps}; expected at least 1")


@dataclass(frozen=True)
class Outer:
    inner: Needs


FULL = Whole(
    rule="pairs",
    level=2,
    part=Part('x "quoted" é\n', 1e-30, (3, 4.5)),
    parts=(Part("b"), Part("c", rate=2.0)),
    ways=(),
    budget=7,
    clip=None,
    folder=Path("/tmp/x"),
    fast=True,
    either=1.0,
    maybe=Part(),
    weights={"a": 1.0},
    names=["none", "null", "1e-3", "yes"],
)


@pytest.mark.parametrize("config", [Whole(), FULL, Whole(either="none"), Whole(either=2), Needs(3), Outer(Needs(2))])
def test_round_trip(tmp_path, config):
    path = tmp_path / "config.toml"
    save_config(path, config)
    loaded = load_config(path, type(config))
    assert loaded == config
    assert repr(loaded) == repr(config)  # 1 == 1.0 == True, but they are not the same
    assert from_dict(type(config), to_dict(config)) == config


scalars = {"rate": st.floats(allow_nan=False), "name": st.text(st.characters(exclude_categories=["Cs"]))}


@given(st.builds(Part, limits=st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), **scalars))
def test_round_trip_of_any_values(tmp_path_factory, part):
    path = tmp_path_factory.mktemp("configs") / "c.toml"
    save_config(path, part)
    assert load_config(path, Part) == part


def test_none_is_left_out_of_toml_only_where_it_is_the_default(tmp_path):
    save_config(tmp_path / "c.toml", Whole(budget=None, clip=None))
    text = (tmp_path / "c.toml").read_text()
    assert "budget" not in text
    assert 'clip = "none"' in text


def test_to_dict_is_plain():
    plain = to_dict(FULL)
    assert plain["parts"] == [
        {"name": "b", "rate": 1e-3, "limits": [1, 2.0]},
        {"name": "c", "rate": 2.0, "limits": [1, 2.0]},
    ]
    assert plain["clip"] is None
    assert plain["folder"] == "/tmp/x"
    assert "derived" not in plain
    with pytest.raises(TypeError, match="expected an instance of a dataclass"):
        to_dict(Whole)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"bugdet": 1}, r"^bugdet: unknown key \(did you mean budget\?\); expected one of rule, level"),
        ({"part": {"nmae": "x"}}, r"^part.nmae: unknown key \(did you mean name\?\)"),
        ({"rule": "dart"}, r"^rule: got 'dart' \(did you mean darts\?\); expected one of darts, pairs"),
        ({"level": True}, r"^level: got True; expected one of 1, 2"),
        ({"budget": "ten"}, r"^budget: got 'ten' \(str\); expected an integer or none"),
        ({"budget": True}, r"^budget: got True \(bool\)"),
        ({"fast": 1}, r"^fast: got 1 \(int\); expected true or false"),
        ({"part": 3}, r"^part: got 3 \(int\); expected a table of Part"),
        ({"part": {"rate": "1e-3"}}, r"^part.rate: got '1e-3' \(str\); expected a number"),
        (
            {"part": {"limits": [1]}},
            r"^part.limits: got 1 values .*expected a list of 2 values \(an integer, a number\)",
        ),
        ({"parts": [{}, {"name": 1}]}, r"^parts\[1\].name: got 1 \(int\); expected a string"),
        ({"parts": {}}, r"^parts: got \{\} \(dict\); expected a list of a table of Part"),
        ({"ways": 5}, r"^ways: got 5 \(int\); expected a list of an integer"),
        ({"ways": [5.0]}, r"^ways\[0\]: got 5.0 \(float\); expected an integer"),
        ({"maybe": {"name": 1}}, r"^maybe.name: got 1"),
        ({"folder": 1}, r"^folder: got 1 \(int\); expected a path"),
        ({"weights": {"a": "b"}}, r"^weights.a: got 'b'"),
        ({"weights": 1}, r"^weights: got 1 \(int\); expected a table of a number"),
        ({"names": 1}, r"^names: got 1 \(int\); expected a list of a string"),
    ],
)
def test_wrong_values_are_named(mapping, message):
    with pytest.raises(InputError, match=message):
        from_dict(Whole, mapping)


def test_missing_keys_and_refusals_of_the_dataclass_are_named():
    with pytest.raises(InputError, match="^inner.steps: missing; expected an integer"):
        from_dict(Outer, {"inner": {}})
    with pytest.raises(InputError, match="^inner: steps: got 0; expected at least 1"):
        from_dict(Outer, {"inner": {"steps": 0}})
    with pytest.raises(InputError, match="^steps: got 0"):
        from_dict(Needs, {"steps": 0})
    with pytest.raises(InputError, match=r"configuration: got \[\]"):
        from_dict(Needs, [])


def test_none_and_whole_numbers_are_understood():
    assert from_dict(Whole, {"clip": "None"}).clip is None
    assert from_dict(Whole, {"clip": None}).clip is None
    rate = from_dict(Part, {"rate": 1}).rate
    assert type(rate) is float
    assert rate == 1.0


def test_an_empty_file_is_all_defaults(tmp_path):
    (tmp_path / "c.toml").write_text("")
    assert load_config(tmp_path / "c.toml", Whole) == Whole()


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match="cannot read .*none.toml: No such file"):
        load_config(tmp_path / "none.toml", Whole)
    (tmp_path / "c.toml").write_text("a = = 1")
    with pytest.raises(InputError, match="c.toml: not valid TOML"):
        load_config(tmp_path / "c.toml", Whole)
    (tmp_path / "d.toml").write_text("budgte = 3")
    with pytest.raises(InputError, match="d.toml: budgte: unknown key"):
        load_config(tmp_path / "d.toml", Whole)


@pytest.mark.parametrize("name", ["c.yaml", "c.yml", "c.json", "c"])
def test_other_files_than_toml_are_refused(tmp_path, name):
    (tmp_path / name).write_text("level: 2")
    for call in (lambda: load_config(tmp_path / name, Whole), lambda: save_config(tmp_path / name, Whole())):
        with pytest.raises(InputError, match=rf"{name}: got suffix '.*'; expected a TOML file, \.toml"):
            call()
    assert (tmp_path / name).read_text() == "level: 2"


def test_what_would_not_read_back_equal_is_not_written(tmp_path):
    with pytest.raises(InputError, match="reads back equal"):
        save_config(tmp_path / "c.toml", Part(rate=math.nan))
    assert not list(tmp_path.iterdir())


def test_types_that_files_cannot_hold_are_the_programmers_error():
    @dataclass
    class Odd:
        value: Any = None

    assert from_dict(Odd, {"value": [1]}).value == [1]
    with pytest.raises(TypeError, match="expected a dataclass"):
        from_dict(int, {})


@dataclass(frozen=True)
class Unsupported:
    value: complex = 0j


def test_an_unsupported_annotation_is_a_type_error():
    with pytest.raises(TypeError, match="value: configuration files cannot hold"):
        from_dict(Unsupported, {"value": 1})
