"""A lock that its holder's death releases, and that names the holder."""

from __future__ import annotations

import fcntl
import os
import socket
import warnings
from pathlib import Path
from typing import IO

from base_fast.errors import InputError


def hold(path: Path, what: str) -> IO[str]:
    """Lock the file `path` until the result is closed, or the process ends in whatever way.

    Raises InputError that says `what` and by whom, when another process (or another call in this one) holds it. On a
    file system without locks it warns, and goes on without.
    """
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise InputError(f"{what} by {holder}; wait for it, stop it, or choose another folder") from None
    except OSError as error:
        warnings.warn(f"{path}: no lock ({error.strerror}); see that no second process works there", stacklevel=3)
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
