"""How many warps of a kernel fit on a multiprocessor, by the rules of NVIDIA's occupancy calculator."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

WARP = 32
# Registers are handed out to warps in units of 256, and the file is split among four schedulers.
REGISTER_UNIT, SCHEDULERS = 256, 4
MOST_REGISTERS = 255
# Shared memory is handed out in units of 128 bytes, and the system keeps 1 KB per block for itself.
SHARED_UNIT, SHARED_RESERVED = 128, 1024


@dataclass(frozen=True)
class Limits:
    """What one multiprocessor has; shared memory in bytes."""

    registers: int
    warps: int
    blocks: int
    shared: int
    shared_per_block: int


LIMITS = MappingProxyType(
    {
        "sm_80": Limits(65_536, 64, 32, 164 * 1024, 163 * 1024),
        "sm_90": Limits(65_536, 64, 32, 228 * 1024, 227 * 1024),
        "sm_100": Limits(65_536, 64, 32, 228 * 1024, 227 * 1024),
    }
)


@dataclass(frozen=True)
class Occupancy:
    """Resident blocks and warps per multiprocessor, and what there is not enough of."""

    blocks: int
    warps: int
    fraction: float
    limit: str


def occupancy(arch: str, threads: int, registers: int, shared: int) -> Occupancy:
    """Of blocks with `threads` threads, `registers` per thread and `shared` bytes; zero where one does not fit."""
    limits = LIMITS[arch]
    warps = _up(threads, WARP) // WARP
    if registers > MOST_REGISTERS or shared > limits.shared_per_block:
        return Occupancy(0, 0, 0.0, "registers" if registers > MOST_REGISTERS else "shared memory")
    per_warp = max(_up(registers * WARP, REGISTER_UNIT), REGISTER_UNIT)
    warps_by_registers = limits.registers // SCHEDULERS // per_warp * SCHEDULERS
    fits = {
        "warps": limits.warps // warps,
        "blocks": limits.blocks,
        "registers": warps_by_registers // warps,
        "shared memory": limits.shared // (_up(shared, SHARED_UNIT) + SHARED_RESERVED),
    }
    limit = min(fits, key=lambda name: fits[name])
    blocks = fits[limit]
    return Occupancy(blocks, blocks * warps, blocks * warps / limits.warps, limit)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
