"""A process of `base-fast forecast`: registers what the command was told to, and answers its question."""

from __future__ import annotations

import sys

from base_fast.cli.register import without_registrations
from base_fast.forecast.probe import main

if __name__ == "__main__":
    without_registrations(sys.argv[1:])
    sys.exit(main())
