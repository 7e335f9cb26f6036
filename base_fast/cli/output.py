"""Standard output and error that no character and no closed pipe ends a command over."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

# What commands print beyond ASCII, where a console or file cannot hold it.
PLAIN = {"→": "->", "±": "+-", "×": "x", "·": "*", "−": "-", "–": "-", "…": "...", "√": "sqrt", "•": "*"}
PLAIN |= {"α": "alpha", "β": "beta", "η": "eta", "θ": "theta", "λ": "lambda", "μ": "mu", "ρ": "rho", "σ": "sigma"}
PLAIN |= {"φ": "phi", "τ": "tau", "ε": "epsilon", "κ": "kappa", "ψ": "psi"}
# A reader that went away: `head` had enough, or the descriptor was closed.
GONE = (errno.EPIPE, errno.EBADF)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("base_fast.plain", _plain)


class Output:
    """A stream for text: what its encoding lacks is written in other words, what nobody reads is dropped.

    Other errors name the stream, as those of files name the file.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._gone = False

    def write(self, text: str) -> int:
        self._try(self._stream.write, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[..., object], *arguments: str) -> None:
        if self._gone or self._stream.closed:
            return
        try:
            call(*arguments)
        except OSError as error:
            self._drop()
            if error.errno not in GONE:
                raise OSError(error.errno, error.strerror, self._name) from None

    def _drop(self) -> None:
        """Give up the stream: what its buffer still holds would fail once more when Python ends."""
        self._gone = True
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Inside, sys.stdout and sys.stderr are an `Output` each; flushed at the end, so that errors show in time."""
    kept = sys.stdout, sys.stderr
    handlers = [getattr(stream, "errors", None) for stream in kept]
    try:
        for stream, name in zip(kept, ("stdout", "stderr"), strict=True):
            if stream is not None:
                _encode(stream, "base_fast.plain")
                setattr(sys, name, Output(stream, f"standard {'output' if name == 'stdout' else 'error'}"))
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    finally:
        for stream, handler in zip(kept, handlers, strict=True):
            if stream is not None and handler is not None:
                _encode(stream, handler)
        sys.stdout, sys.stderr = kept


def _encode(stream: TextIO, errors: str) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        # Reconfiguring flushes, which fails once the reader is gone; that is for `Output` to see.
        with contextlib.suppress(OSError, ValueError):
            reconfigure(errors=errors)
