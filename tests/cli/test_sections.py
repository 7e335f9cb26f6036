"""Options of optional sections are options like all others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from base_fast.cli.adapt import Adapt, AdaptSettings
from base_fast.cli.main import COMMANDS, _parse
from base_fast.cli.train import Train
from base_fast.meta import AdaptConfig, InnerConfig
from base_fast.runs import save_config
from base_fast.tasks import Augmentation, SourceConfig, TargetConfig

VALID = SourceConfig(kind="folder", path="v", split="test")
HAS = AdaptSettings(
    adapt=AdaptConfig(inner=InnerConfig(augmentation=Augmentation(crop_padding=1))), target=TargetConfig(valid=VALID)
)


def adapt(*words: str) -> AdaptSettings:
    return _parse("adapt", list(words)).settings


@pytest.fixture
def file(tmp_path):
    save_config(tmp_path / "c.toml", HAS)
    return f"--config={tmp_path / 'c.toml'}"


def test_the_file_stands_where_no_option_speaks(file):
    assert adapt(file) == HAS
    assert adapt().target.valid is None and adapt().adapt.inner.augmentation is None


def test_options_override_sections_of_the_file(file):
    found = adapt("--target.valid.path", "w", file, "--adapt.inner.augmentation.crop-padding=2", "--target.seed", "3")
    assert found.target.valid == replace(VALID, path="w")
    assert found.target.seed == 3
    assert found.adapt.inner.augmentation == Augmentation(crop_padding=2)


@pytest.mark.parametrize("dash", ["-", "_"])
def test_options_make_sections_that_the_file_lacks(dash):
    found = adapt(f"--target.valid.cache{dash}dir", "c", "--adapt.inner.evidence.own.augmentation.cutout", "4")
    assert found.target.valid == SourceConfig(cache_dir="c")
    assert found.adapt.inner.evidence.own.augmentation == Augmentation(cutout=4)


@pytest.mark.parametrize("words", [["--target.valid", "none"], ["--target.valid=None"], ["target.valid:none"]])
def test_a_section_of_the_file_can_be_left_out(file, words):
    assert adapt(file, *words, "--target.seed", "3").target == TargetConfig(seed=3)


def test_the_parsers_own_word_for_a_section_may_stand_anywhere():
    assert adapt("target.valid:source-config", "--target.seed", "3").target == TargetConfig(
        valid=SourceConfig(), seed=3
    )


@pytest.mark.parametrize("words", [["--target.valid", "photos"], ["--target.valid.pth", "x"], ["--target.valid"]])
def test_what_no_section_has_is_bad_usage(words, capsys):
    with pytest.raises(SystemExit) as stop:
        adapt(*words)
    assert stop.value.code == 2
    assert "--target.valid" in capsys.readouterr().err


def test_commands_without_settings_are_let_be():
    assert _parse("derive", ["--k", "3"]).k == 3
    assert isinstance(_parse("train", []), Train) and isinstance(_parse("adapt", []), Adapt)


def test_help_lists_the_options_of_sections(capsys):
    for name in ("adapt", "train"):
        with pytest.raises(SystemExit):
            _parse(name, ["--help"])
        assert "--target.valid.path" in capsys.readouterr().out


def test_help_leaves_out_sections_that_other_settings_refuse(capsys):
    with pytest.raises(SystemExit) as stop:
        _parse("search", ["--help"])
    said = capsys.readouterr().out
    # GDAS runs one primitive on each edge, and a perturbation changes mixtures.
    assert stop.value.code == 0
    assert "--search.darts.perturbation.radius" in said and "--search.gdas.perturbation.radius" not in said


def test_no_command_has_options_that_need_a_place_on_the_line(capsys):
    """A union of tables would become a subcommand, after which no other option may stand."""
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            _parse(name, ["--help"])
        assert "subcommands" not in capsys.readouterr().out
