"""What the tools print is read right, and tabled."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from base_fast.reports.tables import to_markdown
from benchmarks import gpu_binary, gpu_cuda, gpu_static, gpu_triton
from benchmarks.case import Absent
from benchmarks.gpu_binary import Binary
from benchmarks.gpu_facts import KernelFacts, table, widths

PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z3onePKtPf' for 'sm_90'
ptxas info    : Function properties for _Z3onePKtPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
ptxas info    : Compiling entry function '_Z4copyPK6float4PS_i' for 'sm_90a'
ptxas info    : Function properties for _Z4copyPK6float4PS_i
    24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 14 registers, used 1 barriers, 400 bytes smem, 352 bytes cmem[0]
"""
USAGE = """\
Resource usage:
 Common:
  GLOBAL:0
 Function _Z3onePKtPf:
  REG:10 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:368 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z4copyPK6float4PS_i:
  REG:14 STACK:24 SHARED:400 LOCAL:0 CONSTANT[0]:352 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """\
\t\tFunction : _Z3onePKtPf
        /*0060*/                   LDG.E.U16 R2, desc[UR4][R2.64] ;        /* 0x0000000402027981 */
        /*0090*/                   STG.E desc[UR4][R4.64], R7 ;            /* 0x0000000704007986 */
\t\tFunction : _Z4copyPK6float4PS_i
        /*0150*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR6][R6.64] ; /* 0x0000000606047981 */
        /*0160*/                   LDG.E.64 R8, desc[UR6][R6.64] ;         /* 0x0000000606047981 */
        /*0160*/                   LDGSTS.E.BYPASS.128 [R9], desc[UR6][R6.64] ; /* 0x0000000606047981 */
        /*01d0*/                   LDS R11, [R0] ;                         /* 0x00000000000b7984 */
        /*0200*/                   STG.E.128 desc[UR6][R2.64], R4 ;        /* 0x0000000402007986 */
"""
ELF = """\
.nv.info._Z3onePKtPf
\t<0x1>
\tAttribute:\tEIATTR_CUDA_API_VERSION
\tFormat:\tEIFMT_SVAL
\tValue:\t0x82
.nv.info._Z4copyPK6float4PS_i
\t<0x10>
\tAttribute:\tEIATTR_MAX_THREADS
\tFormat:\tEIFMT_SVAL
\tValue:\t0x80 0x2 0x1
\t<0x11>
"""
COPY = "_Z4copyPK6float4PS_i"
FACTS = KernelFacts("copy", "copy", "CUDA", "sm_90", 128, 40, 0, 0, 0, (128, 128, 32), (128,), 12.0, 8.0)


def test_resources_are_read():
    assert gpu_binary.resources(USAGE) == {"_Z3onePKtPf": (10, 0, 0), COPY: (14, 24, 400)}
    assert gpu_binary.spills(PTXAS) == {"_Z3onePKtPf": 0, COPY: 20}


def test_accesses_of_global_memory_are_read():
    assert gpu_binary.accesses(SASS) == {"_Z3onePKtPf": ((16,), (32,)), COPY: ((128, 128, 64), (128,))}


def test_launch_bounds_are_read():
    assert gpu_cuda.launch_bounds(ELF) == {COPY: 256}
    assert gpu_cuda.threads_per_block("constexpr int kThreads = 192;") == 192


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="needs c++filt")
def test_names_are_readable():
    assert gpu_cuda.demangled("_Z3onePKtPf") == "one"
    assert gpu_cuda.demangled("_ZN9base_fast4cuda4copyIfEEvPKT_PS2_") == "copy<float>"


def test_facts_of_triton_kernels_are_taken_over():
    case = SimpleNamespace(name="copy backward", minimal=2, actual=3)
    binary = Binary(registers=40, stack=8, shared=0, loads=(128, 128, 32), stores=(128,))
    kernel = gpu_triton.TritonKernel("gradient", binary, 0, 16, "", ".visible .entry f()\n.reqntid 128\n")
    found = gpu_triton.of_kernel(case, kernel, "sm_80")
    assert (found.op, found.kernel, found.threads) == ("copy backward", "gradient", 128)
    assert (found.loads, found.stores, found.moved, found.minimum) == ((128, 128, 32), (128,), 12, 8)
    assert found.occupancy.warps == 48


def test_widths_are_counted():
    assert widths(FACTS.loads) == "2×128 1×32"
    assert widths(()) == "none"


def test_the_table_is_written_as_it_was():
    text = to_markdown(table([FACTS]))
    assert (
        "| copy: copy | CUDA | sm_90 | 128 | 40 | 0 | 0 | 0 | 2×128 1×32 | 1×128 | 12 | 8 | 75% | registers |" in text
    )


def test_a_cuda_kernel_has_the_minimum_that_its_op_declares():
    triton = replace(FACTS, op="copy backward", source="Triton", kernel="gradient")
    cuda = replace(FACTS, op="copy", kernel="copy_backward_kernel<bfloat16>", minimum=None)
    other = replace(cuda, kernel="fill_kernel<float>")
    assert [k.minimum for k in gpu_static.with_minima([triton, cuda, other])] == [8.0, 4.0, None]


def test_the_command_says_what_is_missing(monkeypatch, tmp_path, capsys):
    def nothing(_architectures):
        raise Absent("there are none")

    monkeypatch.setattr(gpu_static.gpu_triton, "facts", lambda _architectures: [FACTS])
    monkeypatch.setattr(gpu_static.gpu_cuda, "facts", nothing)
    monkeypatch.setattr(gpu_static.torch.cuda, "is_available", lambda: False)
    assert gpu_static.main(["--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "No CUDA kernels: there are none." in printed and "nothing was timed" in printed
    assert "copy: copy" in (tmp_path / "gpu.md").read_text()
    (kernel,) = json.loads((tmp_path / "gpu.json").read_text())["kernels"]
    assert kernel["occupancy"]["warps"] == 48
