"""Files that are either whole or absent, and tensors in files that cannot execute code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from base_fast.engine import current
from base_fast.errors import InputError


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part, even after a crash.

    Of several processes that work together rank 0 writes.

    Raises OSError as `open` does; `path` is then unchanged.
    """
    path = Path(path)
    if current().rank > 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        # In the same folder, because os.replace is atomic within one file system only.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with naming(path):
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files private to their owner; results are as readable as any other file.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError inside name `path`: that of a full disk names no file, that of a replacement a temporary one."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove_unfinished(folder: Path) -> None:
    """Delete what `atomic_write` was killed over, at any depth. Nobody else may be writing there."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


CHECKSUM = "sha256"


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header to one safetensors file, atomically, with a checksum of them in the header.

    Equal contents give equal bytes. Raises TypeError when the header is not JSON.
    """
    text = json.dumps(dict(header))
    # Clones: safetensors refuses tensors that share memory, and views of one flat vector do.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One entry of metadata: safetensors writes several in any order.
    metadata = {"header": json.dumps({**header, CHECKSUM: _checksum(whole, text)})}
    atomic_write(path, safetensors.torch.save(whole, metadata=metadata))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote: the tensors, on the CPU, and the header. Executes no code from the file.

    Raises InputError when the file is missing, truncated, of another format, damaged, or has no header.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; expected a safetensors file") from None
    try:
        tensors = safetensors.torch.load(data)
        # The format: eight bytes with the length of a JSON text, the text, the tensors.
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is truncated or not a safetensors file ({error}); delete it, or copy it again"
        ) from None
    try:
        header = json.loads(metadata["header"])
    except (KeyError, TypeError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise InputError(f"{path} is a safetensors file without a base_fast header: it was written by something else")
    # Files of versions before there was one have no checksum.
    if header.pop(CHECKSUM, None) not in (None, _checksum(tensors, json.dumps(header))):
        raise InputError(f"{path} is damaged: its checksum is not that of its contents; copy it again, or delete it")
    return tensors, header


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors, wherever they are: names, types, shapes and bytes."""
    return _checksum({name: x.detach().cpu() for name, x in tensors.items()}, "")


def _checksum(tensors: Mapping[str, Tensor], header: str) -> str:
    """SHA-256 of the header and of all tensors: names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256(header.encode("utf-8", "surrogatepass"))
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"\0{name}\0{x.dtype}\0{tuple(x.shape)}\0".encode("utf-8", "surrogatepass"))
        if x.numel():
            digest.update(x.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
