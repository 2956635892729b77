"""``python -m orchstate`` is the command ``orchstate``."""

from __future__ import annotations

import sys

from orchstate.cli import main

if __name__ == "__main__":
    sys.exit(main())
