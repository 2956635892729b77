"""What a base URL may be: an address that can be called, and that holds no secret."""

from __future__ import annotations

import re
import urllib.parse

from orchstate.providers.key_names import is_key_name


def check_url(url: str) -> str:
    """Return `url` if it is the address of an HTTP server.

    Raises
    ------
    ValueError
        If it is not; the message shows the value, unless it may hold a password or a key.

    Examples
    --------
    >>> check_url("http://127.0.0.1:8000/v1/")
    'http://127.0.0.1:8000/v1/'
    """
    if "@" in _authority(url):
        raise ValueError(
            "a URL must not hold a user name or password, since it is not stored as a secret. "
            "Leave the part up to '@' out and put the key into the key field."
        )
    if any(map(is_key_name, _parameters(url))):
        raise ValueError(
            "a URL must not hold a key among its parameters, since it is not stored as a secret. "
            "Leave that parameter out and put the key into the key field."
        )
    problem = _problem(url)
    if problem:
        shown = repr(url) if len(url) <= 80 else f"{url[:77]!r}..."
        raise ValueError(f"{shown} is not a URL that can be called: {problem}")
    return url


def origin(url: str) -> str:
    """Return the scheme, host and port that a key sent to `url` goes to.

    Examples
    --------
    >>> origin("https://API.example.com:443/v1")
    'https://api.example.com'
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    port = parts.port if parts.port != {"http": 80, "https": 443}.get(parts.scheme) else None
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _authority(url: str) -> str:
    # Also of a URL without a scheme, so that its password is not shown in a message.
    return re.split(r"[/?#]", url.partition("//")[2] if "//" in url else url, maxsplit=1)[0]


def _parameters(url: str) -> list[str]:
    # Of the query and of the fragment, read without urllib, which refuses some of what is no URL.
    named = [part.partition("=") for part in re.split(r"[?&;#]", url)[1:]]
    return [urllib.parse.unquote(name) for name, equals, _ in named if equals]


def _problem(url: str) -> str:
    if any(char.isspace() for char in url):
        return "it has a space or line break in it. Remove it."
    if not url.isprintable() or "\\" in url:
        return "backslashes and invisible characters are not allowed. Type it again by hand."
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"{str(error).lower()}. Write it like 'http://127.0.0.1:8000/v1'."
    if parts.scheme not in ("http", "https"):
        return "it has to begin with http:// or https://."
    if not parts.hostname:
        return "it has no host. Write it like 'https://api.example.com/v1'."
    if port == 0:
        return "port 0 cannot be called."
    return ""
