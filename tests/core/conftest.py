"""The torch-free core as a Python module, built once for all workers."""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "core"
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], env=os.environ | {"PATH": PATH}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


@pytest.fixture(scope="session")
def built() -> ModuleType:
    for program in ("cmake", "ninja", "c++"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not installed")
    pybind11 = pytest.importorskip("pybind11")
    BUILD.mkdir(parents=True, exist_ok=True)
    # One worker builds, the others wait, and find nothing left to do.
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _run(
            *("cmake", "-S", ROOT, "-B", BUILD, "-G", "Ninja", "-DBASE_FAST_PYTHON=ON"),
            *(f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DPython_EXECUTABLE={sys.executable}"),
        )
        _run("cmake", "--build", BUILD, "--target", "base_fast_core")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    spec = importlib.util.spec_from_file_location("base_fast_core", BUILD / f"base_fast_core{suffix}")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Core:
    """The module's functions on one instruction set."""

    def __init__(self, module: ModuleType, isa: str) -> None:
        self.module, self.isa = module, isa

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.module, name)
        return lambda *arguments: function(self.isa, *arguments)


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def core(request: pytest.FixtureRequest, built: ModuleType) -> Core:
    try:
        built.select(request.param)
    except RuntimeError as lacking:
        pytest.skip(str(lacking))
    return Core(built, request.param)
