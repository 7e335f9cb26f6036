"""Everything static is in pyproject.toml; the compiled extensions are declared here.

They need PyTorch's headers, so they are built where torch is importable (`pip install --no-build-isolation`). The CPU
extension is optional: without a compiler the package installs in pure Python and runs on its reference, and
`base-fast doctor` says so. BASE_FAST_EXTENSION=1 makes a failure an error, BASE_FAST_EXTENSION=0 leaves it out.

The CUDA extension is built where nvcc, a CUDA build of torch and a GPU are found, and the CPU's is not left out;
BASE_FAST_CUDA=1 asks for it without these, BASE_FAST_CUDA=0 forbids it.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from types import ModuleType

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
WANTED = os.environ.get("BASE_FAST_EXTENSION", "")
CUDA = os.environ.get("BASE_FAST_CUDA", "")
# The oldest torch whose stable ABI the extensions use.
TORCH_TARGET = "0x020a000000000000"
# What a wheel without a GPU in sight is compiled for.
ARCHITECTURES = ("8.0", "9.0", "10.0")

COMMON = ["-std=c++17", "-O3", "-fvisibility=hidden", f"-DTORCH_TARGET_VERSION={TORCH_TARGET}"]
# A product and a sum are fused only where the source says so: AVX2 and AVX-512 then give the same bits.
# NaN and infinity keep their meaning; only errno and floating-point traps, which nothing reads, are given up.
CPU_FLAGS = ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# GCC 12 warns about its own headers of intrinsics.
QUIET = ["-g0", "-Wno-maybe-uninitialized", f"-ffile-prefix-map={ROOT}/="]


def sources(folder: str, *endings: str) -> list[str]:
    found = [path for ending in endings for path in (ROOT / "csrc" / folder).rglob(f"*{ending}")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def headers() -> list[str]:
    return [*sources("core", ".h"), *sources("cpu", ".h"), *sources("cuda", ".h", ".cuh")]


def find_cuda_home() -> None:
    """Point torch at nvcc's own folder before it looks: nvcc on PATH may be a script that calls the real one."""
    nvcc = shutil.which("nvcc")
    if "CUDA_HOME" in os.environ or nvcc is None:
        return
    for folder in (Path(nvcc).resolve().parent.parent, Path("/usr/local/cuda")):
        if (folder / "include" / "cuda_runtime.h").exists():
            os.environ["CUDA_HOME"] = str(folder)
            return


def wants_cuda() -> bool:
    import torch

    if CUDA in ("0", "1"):
        return CUDA == "1"
    return torch.version.cuda is not None and torch.cuda.is_available() and shutil.which("nvcc") is not None


def cuda_extension(cpp_extension: ModuleType) -> Extension:
    import torch

    if torch.cuda.is_available():
        capabilities = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
        found = ";".join(f"{major}.{minor}" for major, minor in sorted(capabilities))
    else:
        found = ";".join(ARCHITECTURES)
    wanted = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", found)
    # A C string literal that holds JSON.
    names = json.dumps(json.dumps([f"sm_{arch.replace('.', '')}" for arch in wanted.replace(" ", ";").split(";")]))
    return cpp_extension.CUDAExtension(
        "base_fast._C_cuda",
        sources("cuda", ".cu", ".cpp"),
        depends=headers(),
        define_macros=[("USE_CUDA", None)],
        extra_compile_args={
            "cxx": [
                *COMMON,
                *QUIET,
                f"-DBF_ARCHITECTURES={names}",
                f"-DBF_NVCC={json.dumps(torch.version.cuda)}",
            ],
            # Products and sums are fused where the source says so, as on the CPU.
            "nvcc": ["-std=c++17", "-O3", "--fmad=false", "-Xcompiler=-fvisibility=hidden", COMMON[-1]],
        },
        py_limited_api=True,
    )


def extensions() -> dict:
    if WANTED == "0" and CUDA != "1":
        return {}
    find_cuda_home()
    try:
        from torch.utils import cpp_extension
    except ImportError as error:
        if WANTED == "1":
            raise
        warnings.warn(f"no compiled kernels: {error}; install with --no-build-isolation", stacklevel=1)
        return {}

    class OptionalBuild(cpp_extension.BuildExtension):
        """Leaves out an extension that cannot be built, unless it was asked for; the others are still built."""

        def build_extensions(self) -> None:
            every, built = self.extensions, []
            for extension in every:
                self.extensions = [extension]
                try:
                    super().build_extensions()
                    built.append(extension)
                except Exception as error:
                    if (CUDA if extension.name.endswith("cuda") else WANTED) == "1":
                        raise
                    warnings.warn(f"no compiled kernels in {extension.name}: {error}", stacklevel=1)
            self.extensions = built

    modules = []
    if WANTED != "0":
        modules.append(
            cpp_extension.CppExtension(
                "base_fast._C",
                sources("cpu", ".cpp"),
                depends=headers(),
                extra_compile_args={"cxx": COMMON + CPU_FLAGS + QUIET},
                py_limited_api=True,
            )
        )
    if wants_cuda():
        modules.append(cuda_extension(cpp_extension))
    return {"ext_modules": modules, "cmdclass": {"build_ext": OptionalBuild}}


setup(
    **extensions(),
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
