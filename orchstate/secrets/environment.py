"""Secrets that somebody else keeps: environment variables, read at the moment of use."""

from __future__ import annotations

import os

from orchstate.errors import SecretUnavailableError


def try_environment(name: str) -> str | None:
    r"""Return the value of the environment variable `name`, or None if it is not set.

    An empty variable counts as not set: an empty key would only suppress an SDK's own
    look-up. The line break that files and shells leave at the end is taken off.

    Examples
    --------
    >>> os.environ["EXAMPLE_KEY"] = "sk-1\n"
    >>> try_environment("EXAMPLE_KEY")
    'sk-1'
    >>> del os.environ["EXAMPLE_KEY"]
    """
    return os.environ.get(name, "").rstrip("\r\n") or None


def environment(name: str) -> str:
    """Return the value of the environment variable `name`.

    Raises
    ------
    SecretUnavailableError
        If it is not set, or empty.
    """
    value = try_environment(name)
    if value is None:
        raise SecretUnavailableError(
            f"The environment variable {name!r} is {'empty' if name in os.environ else 'not set'}. "
            "Set it before the kernel starts, or type the key in the form."
        )
    return value
