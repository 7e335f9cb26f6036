"""The exceptions that a user can act on."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message is one line that names the argument, the value given and the value expected.

    The command line prints the message alone, without a traceback.
    """


class Diverged(RuntimeError):
    """A loss or gradient became NaN or infinite; the message says where and which checkpoint is the last good one."""


class Interrupted(Exception):
    """SIGINT (Ctrl-C) or SIGTERM came. With a run folder the state is saved; the message says how far the work got."""


class RankFailed(RuntimeError):
    """Another process of the run failed, died, or does not answer; the message says which one, and what is known."""
