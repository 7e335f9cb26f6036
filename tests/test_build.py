"""The build: the wheel's contents, the C++ tests under sanitizers, and the CUDA extension."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from base_fast.runs.provenance import cpu_flags

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.slow


def tool(name: str) -> str:
    """A program of this environment, else of the machine; the test is skipped without it."""
    found = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"PATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, so that nothing built lies around."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("base_fast", "kernels", "csrc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "CMakeLists.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_cpp_tests_pass_under_sanitizers(tmp_path):
    cmake, ctest = tool("cmake"), tool("ctest")
    tool("c++")
    # Watched are the baseline and the widest vectors of this processor, in templates that all widths share: each of the
    # others takes minutes to compile.
    flags = cpu_flags()
    widest = "avx512" if "avx512dq" in flags else "avx2" if "avx2" in flags else "baseline"
    unwatched = [isa for isa in ("avx2", "avx512") if isa != widest]
    options = ("-DBASE_FAST_SANITIZE=address", f"-DBASE_FAST_UNWATCHED={';'.join(unwatched)}")
    run(cmake, "-S", ROOT, "-B", tmp_path, "-G", "Ninja", *options)
    run(cmake, "--build", tmp_path)
    print(run(ctest, "--test-dir", tmp_path, "--output-on-failure"))


def test_threads_share_nothing_that_they_write(tmp_path):
    """The bodies of CUDA kernels pass as well; with a thread for each of CUDA's they take four minutes."""
    cmake, ctest = tool("cmake"), tool("ctest")
    tool("c++")
    tests = [path.stem for path in (ROOT / "csrc" / "tests").glob("*.cpp") if "std::thread" in path.read_text()]
    assert "test_mixed_op" in tests
    run(cmake, "-S", ROOT, "-B", tmp_path, "-G", "Ninja", "-DBASE_FAST_SANITIZE=thread")
    run(cmake, "--build", tmp_path, "--target", *tests)
    chosen = f"^({'|'.join(tests)}).baseline$"
    print(run(ctest, "--test-dir", tmp_path, "--output-on-failure", "--no-tests=error", "-R", chosen))


def test_every_header_of_the_kernels_compiles_by_itself():
    """In the order of the alphabet, or alone in an editor."""
    compiler = tool("c++")
    headers = [path for path in sorted((ROOT / "csrc" / "cpu").rglob("*.h")) if path.parent.name != "torch"]
    assert {path.parent.name for path in headers} == {"isa", "memory", "blocked", "edge", "elementwise"}
    for header in headers:
        # As a user of it, so that `#pragma once` means what it says.
        run(compiler, "-std=gnu++17", "-fsyntax-only", "-Wall", "-Wextra", "-include", header, "-x", "c++", os.devnull)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, made of the object files in `build` where they are newer than their sources."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
        ROOT, BASE_FAST_EXTENSION="1", BASE_FAST_CUDA="0",
    )  # fmt: skip
    (made,) = folder.glob("*.whl")
    return made


@pytest.mark.xdist_group("wheel")
def test_the_wheel_holds_the_extension_and_serves_every_python(wheel):
    assert "-cp310-abi3-" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"base_fast/_C.abi3.so", "base_fast/kernels/gaussian_sample.py", "base_fast/py.typed"} <= names
    assert not [name for name in names if name.startswith(("kernels/", "csrc/", "tests/", "benchmarks/"))]


@pytest.mark.xdist_group("wheel")
@pytest.mark.parametrize("isa", ["avx512", "avx2"])
def test_instruction_sets_do_not_leak_through_inline_functions(wheel, isa):
    """An inline function of the standard library compiled for AVX-512 could be the copy that everybody calls."""
    (compiled,) = ROOT.glob(f"build/temp*/**/isa/{isa}.o")
    weak = [line for line in run(tool("nm"), "-C", compiled).splitlines() if " W " in line]
    assert [line for line in weak if f"base_fast::{isa}::" not in line] == []


def test_without_a_compiler_the_package_installs_in_pure_python(source, tmp_path):
    build = ("setup.py", "build_ext", "--build-lib", tmp_path / "lib", "--build-temp", tmp_path / "temp")
    broken = {"CXX": "false", "CC": "false"}
    said = run(sys.executable, *build, cwd=source, BASE_FAST_CUDA="0", **broken)
    assert "no compiled kernels in base_fast._C" in said
    assert not list(tmp_path.rglob("*.so"))
    with pytest.raises(AssertionError):
        run(sys.executable, *build, cwd=source, BASE_FAST_CUDA="0", BASE_FAST_EXTENSION="1", **broken)


@pytest.mark.skipif(torch.version.cuda is None, reason="this torch is built without CUDA")
def test_the_cuda_extension_builds_loads_and_registers(source, tmp_path):
    tool("nvcc")
    build = ("setup.py", "build_ext", "--inplace")
    # Without the CPU's extension, which takes three minutes.
    run(
        sys.executable, *build, cwd=source,
        BASE_FAST_EXTENSION="0", BASE_FAST_CUDA="1", TORCH_CUDA_ARCH_LIST="8.0", MAX_JOBS="2",
    )  # fmt: skip
    code = (
        "import base_fast as bf\n"
        "every = {op: kernels['cuda'] for op, kernels in bf.backends().items()}\n"
        "others = ('reference (it', 'Triton (the CUDA extension has no kernel for it)')\n"
        "served = {op: kernel for op, kernel in every.items() if not kernel.startswith(others)}\n"
        "assert served, 'no op has kernels'\n"
        "print(served)\n"
        "assert all(kernel.startswith('CUDA C++ (compiled for sm_80)') for kernel in served.values()), served"
    )
    print(run(sys.executable, "-c", code, cwd=source, PYTHONPATH=str(source)))
