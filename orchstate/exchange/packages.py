"""The packages that providers need, as orchstate's own metadata name them, and whether they are here."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from orchstate.exchange.format import NEEDED
from orchstate.exchange.items import Missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def packages_for(sdks: Iterable[str]) -> dict[str, str]:
    """Return what a setup needs that uses these SDKs: the oldest version of each package, or ``""``.

    Examples
    --------
    >>> packages_for(["openai"])["orchstate"]
    '>=0.1'
    """
    found = {sdk: _extras().get(sdk, "") for sdk in sdks}
    return dict(sorted({"orchstate": NEEDED, **found}.items()))


def missing_packages(users: Mapping[str, str], named: Mapping[str, str]) -> list[Missing]:
    """Return the packages that are not here, or too old.

    Parameters
    ----------
    users
        By SDK the name of a config that uses it.
    named
        The packages that a setup names, with their oldest versions.
    """
    wanted = {sdk: named.get(sdk) or _extras().get(sdk, "") for sdk in users}
    # orchstate itself, and others that only the file knows of.
    wanted |= {name: version for name, version in named.items() if name not in wanted}
    return [
        Missing("package", f"{name}{version}", users.get(name, ""), _next_step(name, version))
        for name, version in sorted(wanted.items())
        if not is_installed(name, version)
    ]


def _next_step(name: str, version: str) -> str:
    if name in _extras():
        return f'pip install --upgrade "orchstate[{name}]"'
    if name == "orchstate":
        return f'pip install --upgrade "orchstate{version}"'
    # No pip line: the name comes from the file, and whoever wrote it may have made the package too.
    return "The file names it, orchstate does not know it. Look at it before you install it."


def core_packages() -> dict[str, str]:
    """Return the packages that orchstate itself stands on, each with its oldest version."""
    return {name: oldest for name, oldest, extra in _requirements() if not extra}


def try_version(name: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def is_installed(name: str, oldest: str) -> bool:
    """Whether a package is here and not older than ``oldest``, such as ``">=1.60"`` or ``""``."""
    found = try_version(name)
    if found is None:
        # Run from a folder without being installed, orchstate has no version that could be too old.
        return name == "orchstate"
    return _numbers(found) >= _numbers(oldest)


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"(?:>=)?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, leading[1].split("."))) if leading else ()


def _extras() -> dict[str, str]:
    """Return the packages that have an extra of their own name, each with its oldest version."""
    return {name: oldest for name, oldest, extra in _requirements() if name == extra}


@cache
def _requirements() -> tuple[tuple[str, str, str], ...]:
    """Return name, oldest version and extra of every package that orchstate's metadata name."""
    try:
        lines = metadata.requires("orchstate") or []
    except metadata.PackageNotFoundError:
        return ()
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        oldest = re.search(r">=\d+(\.\d+)*", requirement)
        extra = re.search(r"extra == ['\"]([\w.-]+)['\"]", marker)
        if name:
            found.append((name[0], oldest[0] if oldest else "", extra[1] if extra else ""))
    return tuple(found)
