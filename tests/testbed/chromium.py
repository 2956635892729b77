"""Headless Chromium: the one this machine has, kept from talking to anything but loopback."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

    from playwright.sync_api import Browser, BrowserContext, Playwright

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_APPLICATIONS: Final = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_ARGUMENTS: Final = (
    # A container's root has no user namespaces to build a sandbox from.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Small /dev/shm, as containers have it, makes tabs crash.
    "--disable-dev-shm-usage",
    # Whatever a page asks for elsewhere fails at once, and is listed as a foreign request.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
_VIEW: Final = {"width": 1400, "height": 900}


def chromium_path() -> Path | None:
    """Return the browser to use: ``$ORCHSTATE_CHROMIUM``, else the first installed one, None when none is."""
    named = os.environ.get("ORCHSTATE_CHROMIUM")
    if named:
        return Path(named)
    found = [path for path in map(shutil.which, _NAMES) if path and not _is_snap(Path(path))]
    return next((Path(path) for path in (*found, *_APPLICATIONS) if os.access(path, os.X_OK)), None)


def _is_snap(path: Path) -> bool:
    # Ubuntu's chromium is a snap, or a script that asks for it; its confinement keeps it out of our folders.
    return path.resolve() == Path("/usr/bin/snap") or b"/snap/bin" in path.read_bytes()[:4000]


class Chromium:
    """A running browser; a context manager.

    Playwright's synchronous interface keeps an event loop running in this thread, so
    ``asyncio.run()`` does not work here before the block has ended, and only one
    browser can be there at a time: share it among labs.
    """

    def __enter__(self) -> Chromium:
        from playwright.sync_api import sync_playwright

        self._playwright: Playwright = sync_playwright().start()
        try:
            path = chromium_path() or _own_of(self._playwright)
            self._browser: Browser = self._playwright.chromium.launch(
                executable_path=path, args=list(_ARGUMENTS)
            )
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def context(self) -> BrowserContext:
        """Return a new browser context: cookies, storage and focus of its own, as another person has."""
        return self._browser.new_context(viewport={"width": _VIEW["width"], "height": _VIEW["height"]})


def _own_of(playwright: Playwright) -> Path:
    """Return the browser that `playwright install chromium` has brought."""
    own = Path(playwright.chromium.executable_path)
    if not own.exists():
        raise FileNotFoundError(
            "No Chromium found. Run tests/install_system_packages.sh, or name one in ORCHSTATE_CHROMIUM."
        )
    return own
