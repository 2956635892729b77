"""Properties are checked without a deadline: this machine may be busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("orchstate", deadline=None)
settings.load_profile("orchstate")
