"""The hook that holds commit messages to CONTRIBUTING.md, and its installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hooks.commit_message import problems

ROOT = Path(__file__).resolve().parents[1]
BODY = "\n\nNodes may share their predecessor in the published cells."


@pytest.mark.parametrize(
    "message",
    [
        f"Add the pairs rule{BODY}",
        f"Pass gradients through{BODY}\n# Please enter the commit message\n",
        f"{'Add ' + 68 * 'x'}{BODY}",
        f"# comment\n\nEmbed pictures\n{BODY}",
        f"Re-draw noise in backward{BODY}\n# {24 * '-'} >8 {24 * '-'}\ndiff --git a b\n",
        "Merge branch 'main'",
        'Revert "Add the pairs rule"',
        "fixup! Add the pairs rule",
    ],
)
def test_messages_that_pass(message: str) -> None:
    assert problems(message) == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (f"Added the pairs rule{BODY}", "expected an imperative"),
        (f"Adding the pairs rule{BODY}", "expected an imperative"),
        (f"Adds the pairs rule{BODY}", "expected an imperative"),
        (f"The pairs rule{BODY}", "expected an imperative"),
        (f"docs: the pairs rule{BODY}", "expected an imperative"),
        (f"add the pairs rule{BODY}", "expected an imperative"),
        (f"Rule{BODY}", "expected an imperative"),
        (f"{'Add ' + 69 * 'x'}{BODY}", "got 73 characters, expected at most 72"),
        (f"Add the pairs rule.{BODY}", "full stop"),
        ("Add the pairs rule", "body: got none"),
        ("Add the pairs rule\n\n# only a comment\n", "body: got none"),
        ("Add the pairs rule\nand its test", 'second line: got "and its test"'),
        ("", "expected an imperative"),
    ],
)
def test_messages_that_do_not(message: str, expected: str) -> None:
    assert expected in "\n".join(problems(message))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make hooks` needs of a source tree, with this environment."""
    for program in ("make", "git"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    pytest.importorskip("pre_commit")
    shutil.copytree(ROOT / "hooks", tmp_path / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", ".pre-commit-config.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_make_installs_the_hook(checkout: Path) -> None:
    assert run(checkout, "git", "init", "--quiet").returncode == 0
    assert run(checkout, "make", "hooks", "--assume-old=.venv/.dev").returncode == 0
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty"]
    refused = run(checkout, *commit, "-m", "Added a file")
    assert refused.returncode != 0
    assert "expected an imperative" in refused.stderr + refused.stdout
    assert "body: got none" in refused.stderr + refused.stdout
    accepted = run(checkout, *commit, "-m", "Add a file", "-m", "Because it was missing.")
    assert accepted.returncode == 0, accepted.stderr
    assert run(checkout, "git", "log", "--format=%s").stdout == "Add a file\n"


def test_a_source_tree_without_git_has_no_hook_to_install(checkout: Path) -> None:
    done = run(checkout, "make", "hooks", "--assume-old=.venv/.dev")
    assert done.returncode == 0, done.stderr
    assert not (checkout / ".git").exists()


def test_a_checkout_with_hooks_of_its_own_keeps_them(checkout: Path) -> None:
    run(checkout, "git", "init", "--quiet")
    run(checkout, "git", "config", "core.hooksPath", "mine")
    done = run(checkout, "make", "hooks", "--assume-old=.venv/.dev")
    assert done.returncode == 0, done.stderr
    assert "core.hooksPath" in done.stdout + done.stderr
