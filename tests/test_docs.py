"""The documents' code works. What follows a fence's language says how it is tested:

```bash run           executed, in a copy of the repository
```bash               checked: subcommands, flags, targets and files exist
```bash slow          the same; says to the reader that it takes long
```bash needs-data    the same; says that it needs files that the repository lacks
```python             executed, after the document's earlier ones
```python needs-data  compiled only; likewise slow
"""

from __future__ import annotations

import functools
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from base_fast.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
MARKS = {"bash": {"", "run", "slow", "needs-data"}, "python": {"", "slow", "needs-data"}}
# Called as installed or not: the command line of this very tree.
CLI = [sys.executable, "-c", "import sys; sys.argv[0] = 'base-fast'; from base_fast.cli import main; sys.exit(main())"]


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: str, text: str) -> Iterator[Block]:
    fence: re.Match[str] | None = None
    start = 0
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if fence is None:
            fence = re.match(r"(\s*)```(\w*) *(.*)$", line)
            start, lines = number, []
        elif line.strip() == "```":
            if fence[2] in MARKS:
                dedented = "".join(f"{inner.removeprefix(fence[1])}\n" for inner in lines)
                yield Block(document, start, fence[2], fence[3].strip(), dedented)
            fence = None
        else:
            lines.append(line)


def documents() -> list[Path]:
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(path for path in found if path.exists())


BLOCKS = [b for path in documents() for b in blocks_of(str(path.relative_to(ROOT)), path.read_text())]
EXECUTED = [b for b in BLOCKS if (b.language, b.mark) in {("bash", "run"), ("python", "")}]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell text, without comments, assignments and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();|&"):
                command = words
                while command and re.match(r"\w+=", command[0]):
                    command = command[1:]
                if command:
                    yield command
                words = []
            else:
                words.append(word)


@functools.cache
def help_of(*words: str) -> str:
    """What `base-fast <words> --help` prints; fails the test when the command does not exist."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.setenv("COLUMNS", "300")
        patch.setenv("NO_COLOR", "1")
        try:
            status = main([*words, "--help"])
        except SystemExit as stop:
            status = stop.code
    assert status == 0, f"base-fast {' '.join(words)} --help fails: {said.getvalue()[-2000:]}"
    return said.getvalue()


def flags_in(text: str) -> set[str]:
    return {flag.replace("_", "-") for flag in re.findall(r"(?<![\w-])--?[A-Za-z][\w.-]*", text)}


def problems(command: list[str]) -> list[str]:
    """What is wrong with a command of the documents, as far as can be told without running it."""
    program, *rest = command
    if Path(program).name == "base-fast":
        return _cli_problems(rest)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
        asked = [word for word in rest if "=" not in word and not word.startswith("-")]
        return [f"make has no target {word}" for word in asked if word not in targets]
    return []


def _cli_problems(rest: list[str]) -> list[str]:
    subcommand = [word for word in rest[:1] if not word.startswith("-")]
    known = flags_in(help_of(*subcommand))
    found = []
    for word in rest[len(subcommand) :]:
        flag = word.partition("=")[0].replace("_", "-")
        if re.match(r"--?[A-Za-z]", word) and flag not in known:
            found.append(f"base-fast {' '.join(subcommand)} has no flag {flag}")
    for word in rest:
        # Flags may carry their value: --config=file.
        found += _config_problems(word.rpartition("=")[2])
    return found


def _config_problems(word: str) -> list[str]:
    path = ROOT / word
    if path.suffix != ".toml" or word.startswith("runs/"):
        return []
    if not path.exists():
        return [f"{word} does not exist"]
    try:
        tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        return [f"{word} cannot be parsed: {error}"]
    return []


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_well_formed(block):
    assert block.mark in MARKS[block.language], f"{block}: `{block.mark}` is none of {sorted(MARKS[block.language])}"
    if block.language == "python":
        compile(block.text, str(block), "exec")
        return
    found = [problem for command in commands(block.text) for problem in problems(command)]
    assert found == [], str(block)


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository, so that what documents write stays out of the tree."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")

    def ignore(folder: str, names: list[str]) -> set[str]:
        return {*ignored(folder, names), *({"runs", "data", "data-cache"} & set(names) if Path(folder) == ROOT else ())}

    return shutil.copytree(ROOT, tmp_path / "base_fast", ignore=ignore)


# Runs the Python files whose names it reads, a line each, one after the other in one scope, as a reader would.
SESSION = """
import sys
scope = {"__name__": "__main__"}
for line in sys.stdin:
    path = line.rstrip("\\n")
    exec(compile(open(path).read(), path, "exec"), scope)
    print("\\nfinished", path, flush=True)
"""


def execute(blocks: list[Block], folder: Path) -> None:
    """Run the blocks of one document in order; the Python ones continue each other, in one process."""
    binaries = folder / ".bin"
    binaries.mkdir(exist_ok=True)
    base_fast = binaries / "base-fast"
    base_fast.write_text(f'#!/bin/sh\nexec {shlex.join(CLI)} "$@"\n')
    base_fast.chmod(0o755)
    path = os.pathsep.join([str(binaries), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    with (
        (binaries / "errors").open("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SESSION], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        ) as session,
    ):  # fmt: skip
        try:
            for number, block in enumerate(blocks):
                if block.language == "python":
                    _continue(session, binaries / f"block{number}.py", block, Path(errors.name))
                else:
                    command = ["bash", "-euo", "pipefail", "-c", block.text]
                    done = subprocess.run(
                        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
                    )
                    assert done.returncode == 0, f"{block} fails:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        finally:
            session.kill()


def _continue(session: subprocess.Popen[str], file: Path, block: Block, errors: Path) -> None:
    """Run a block in the session, and wait for its end."""
    assert session.stdin is not None and session.stdout is not None
    file.write_text(block.text)
    session.stdin.write(f"{file}\n")
    session.stdin.flush()
    said = ""
    limit = threading.Timer(600.0, session.kill)
    limit.start()
    try:
        for line in session.stdout:
            if line == f"finished {file}\n":
                return
            said += line
    finally:
        limit.cancel()
    raise AssertionError(f"{block} fails:\n{said[-3000:]}\n{errors.read_text()[-3000:]}")


@pytest.mark.parametrize("document", sorted({block.document for block in EXECUTED}))
def test_the_code_of_a_document_runs(document, copy):
    execute([block for block in EXECUTED if block.document == document], copy)


def test_fences_are_read():
    text = "```bash run\na\n```\n\n1. x\n   ```python\n   if 1:\n       b\n   ```\n```text\nc\n```\n```bash\nd\n```"
    found = [(b.line, b.language, b.mark, b.text) for b in blocks_of("d", text)]
    assert found == [
        (1, "bash", "run", "a\n"),
        (6, "python", "", "if 1:\n    b\n"),
        (13, "bash", "", "d\n"),
    ]


def test_commands_are_read():
    text = "A=1 make 'x y' && cd b; # no\nbase-fast adapt \\\n  --config c.toml | tee log\n"
    assert list(commands(text)) == [
        ["make", "x y"],
        ["cd", "b"],
        ["base-fast", "adapt", "--config", "c.toml"],
        ["tee", "log"],
    ]


def test_wrong_commands_are_seen(monkeypatch, tmp_path):
    monkeypatch.setitem(globals(), "help_of", lambda *words: "usage: --config FILE --inner.steps INT, -h")
    assert problems(["make", "test", "TORCH=torch==2.14.1"]) == []
    assert problems(["make", "tset"]) == ["make has no target tset"]
    assert problems(["base-fast", "adapt", "--inner.steps", "-3", "--config=pyproject.toml"]) == []
    assert problems(["base-fast", "adapt", "--steps", "3"]) == ["base-fast adapt has no flag --steps"]
    assert problems([".venv/bin/base-fast", "adapt", "--config", "no.toml"]) == ["no.toml does not exist"]
    broken = tmp_path / "broken.toml"
    broken.write_text("= 1")
    assert "cannot be parsed" in problems(["base-fast", "adapt", "--config", str(broken)])[0]
    assert problems(["cat", "anything"]) == []


def test_blocks_run_in_order_and_failures_are_seen(tmp_path):
    def block(language, text):
        return Block("d.md", 1, language, "run", text)

    execute(
        [
            block("python", "a = 1\n"),
            block("bash", "echo 2 > f\n"),
            block("python", "assert a + 1 == int(open('f').read())"),
        ],
        tmp_path,
    )
    with pytest.raises(AssertionError, match=r"d\.md:1 fails"):
        execute([block("bash", "false | true\n")], tmp_path)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        execute([block("python", "1 / 0\n")], tmp_path)
