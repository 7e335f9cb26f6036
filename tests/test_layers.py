"""Imports run downwards only, in the order of the table in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "base_fast"
MAX_LINES = 450
# The face of the package: they join layers and are imported by none.
FACES = {"__init__", "__main__"}


def layers() -> list[str]:
    """The layers, uppermost first: the first column of the first table of the document."""
    names = []
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        row = re.match(r"\| `(\w+)` \|", line)
        if row:
            names.append(row[1])
        elif names:
            break
    return names


ORDER = layers()
# The Triton kernels lie beside the package, which they are a part of.
KERNELS = ROOT / "kernels"
FILES = sorted(path for folder in (PACKAGE, KERNELS) for path in folder.rglob("*.py"))


def module_of(path: Path) -> tuple[str, ...]:
    package = ("base_fast",) if KERNELS in path.parents else ()
    parts = (*package, *path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def layer_of(path: Path) -> str:
    return (*module_of(path), "__init__")[1]


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that is imported, with relative imports resolved against `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join((*base, *([node.module] if node.module else [])))
            # With the name: in `from base_fast import space` it is the name that says which layer.
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names)


def package_of(path: Path) -> tuple[str, ...]:
    module = module_of(path)
    return module if path.name == "__init__.py" else module[:-1]


def violations(source: str, path: Path) -> list[str]:
    """What `source`, were it the file `path`, imports against the order."""
    layer = layer_of(path)
    found = []
    for line, name in imports(ast.parse(source), package_of(path)):
        root, *rest = name.split(".")
        if root == "torch" and layer == "space":
            found.append(f"{path.relative_to(ROOT)}:{line}: `space` imports torch")
        if root != "base_fast" or layer in FACES:
            continue
        if not rest or rest[0] not in ORDER:
            found.append(f"{path.relative_to(ROOT)}:{line}: imports {name}, which is no layer")
        elif ORDER.index(rest[0]) < ORDER.index(layer):
            found.append(f"{path.relative_to(ROOT)}:{line}: `{layer}` imports {name}, a layer above it")
    return found


def test_the_table_names_the_layers():
    assert len(ORDER) == len(set(ORDER)) >= 10
    assert ORDER[0] == "cli"
    assert ORDER[-1] == "errors"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_layers_below_it(path):
    assert layer_of(path) in {*ORDER, *FACES}, f"add the layer `{layer_of(path)}` to docs/architecture.md"
    assert violations(path.read_text(), path) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "source",
    [
        "import base_fast.cli",
        "import base_fast",
        "from base_fast import meta",
        "from base_fast import Supernet",
        "from base_fast.meta.adapt import adapt",
        "from ..meta import adapt",
        "from .. import meta",
        "def f():\n    from base_fast.cli import main",
    ],
)
def test_an_import_against_the_order_is_seen(source):
    assert len(violations(source, PACKAGE / "ops" / "new.py")) == 1
    assert violations(source, PACKAGE / "__init__.py") == []


@pytest.mark.parametrize("source", ["from base_fast.ops import checks", "from ..ops.branches import present"])
def test_kernels_do_not_import_the_ops_that_load_them(source):
    assert len(violations(source, KERNELS / "new.py")) == 1


def test_imports_along_the_order_are_allowed():
    source = "import torch\nfrom base_fast import errors\nfrom . import registry\nfrom ..reference import philox"
    assert violations(source, PACKAGE / "ops" / "new.py") == []
    assert violations("from base_fast.reference import philox\nfrom . import _math", KERNELS / "new.py") == []
    assert violations("from . import registry", PACKAGE / "ops" / "__init__.py") == []
    assert len(violations("import torch.nn", PACKAGE / "space" / "new.py")) == 1


def test_the_modules_of_benchmarks_import_each_other_in_one_direction():
    graph = {}
    for path in (ROOT / "benchmarks").glob("*.py"):
        names = [name.split(".") for _, name in imports(ast.parse(path.read_text()), ("benchmarks",))]
        graph[path.stem] = {name[1] for name in names if name[0] == "benchmarks" and len(name) > 1}
    assert "case" in graph["measure"]
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.py")), ids=lambda path: path.name)
def test_only_what_triton_compiles_is_untyped(path):
    """mypy is told to let these files be, for the sake of their kernels."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and "triton.jit" not in map(ast.unparse, node.decorator_list):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            assert node.returns is not None and not untyped, f"{path.name}:{node.lineno}: {node.name} {untyped}"
