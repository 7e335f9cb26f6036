"""What a resumed run may change."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from base_fast.errors import InputError
from base_fast.runs import RunFolder, changeable, unchangeable
from base_fast.runs.config_files import config_text


@dataclass(frozen=True)
class Part:
    seed: int = 0
    path: str = changeable("here")


@dataclass(frozen=True)
class Settings:
    steps: int = 3
    device: str = changeable("auto")
    part: Part = Part()
    parts: tuple[Part, ...] = (Part(),)
    maybe: Part | None = None


CHANGED = Settings(device="cpu", part=Part(path="there"), parts=(Part(path="there"),))


def test_settings_without_those_that_may_change():
    parts = {"part": {"seed": 0}, "parts": [{"seed": 0}], "maybe": None}
    assert unchangeable(Settings()) == unchangeable(CHANGED) == {"steps": 3, **parts}


def test_a_resumed_run_keeps_the_new_settings(tmp_path):
    RunFolder.create(tmp_path, "train", Settings()).close()
    with RunFolder.create(tmp_path, "train", CHANGED, resume=True) as run:
        assert run.config(Settings) == CHANGED
    for other, name in (
        (replace(CHANGED, steps=4), "steps"),
        (replace(CHANGED, part=Part(1)), "part.seed"),
        (replace(CHANGED, parts=(Part(2),)), r"parts\[0\].seed"),
        (replace(CHANGED, maybe=Part()), "maybe"),
    ):
        with pytest.raises(InputError, match=f"another configuration: {name} was"):
            RunFolder.create(tmp_path, "train", other, resume=True)
    assert RunFolder.open(tmp_path).config(Settings) == CHANGED


@pytest.mark.parametrize("resume", [False, True])
def test_the_very_settings_alone_are_a_start_that_was_cut_off(tmp_path, resume):
    """Other ones in a folder without a run may be the user's own file, and are not overwritten."""
    (tmp_path / "config.toml").write_text(config_text(Settings()))
    with pytest.raises(InputError, match="holds config.toml but no run"):
        RunFolder.create(tmp_path, "train", CHANGED, resume=resume)
    RunFolder.create(tmp_path, "train", Settings(), resume=resume).close()


def test_a_run_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    RunFolder.create("~/run", "train", Settings()).close()
    assert RunFolder.open("~/run").path == tmp_path / "run"
