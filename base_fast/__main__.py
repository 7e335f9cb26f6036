"""`python -m base_fast` is `base-fast`."""

from __future__ import annotations

import sys

from base_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())
