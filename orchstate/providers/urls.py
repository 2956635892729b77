"""What a base URL may be: an address that can be called, and that holds no secret."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from typing import Final

from orchstate.models.key_shapes import REFUSAL, holds_key, looks_like_key
from orchstate.providers.key_names import is_key_name

# Underscores are no part of host names, and yet those of containers have them.
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_HOST: Final = 253


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
    if holds_key(url):
        raise ValueError(REFUSAL)
    if any(map(is_key_name, _parameters(url))):
        raise ValueError(
            "a URL must not hold a key among its parameters, since it is not stored as a secret. "
            "Leave that parameter out and put the key into the key field."
        )
    problem = _problem(url)
    if problem:
        raise ValueError(f"{_shown(url)} is not a URL that can be called: {problem}")
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


def _shown(url: str) -> str:
    if looks_like_key(url):
        return "What looks like a key"
    return repr(url) if len(url) <= 80 else f"{url[:77]!r}..."


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
    except ValueError:
        return "its host is not valid. Write it like 'http://127.0.0.1:8000/v1'."
    try:
        port = parts.port
    except ValueError:
        return "its port is no number from 1 to 65535. Write it like 'http://127.0.0.1:8000/v1'."
    if parts.scheme not in ("http", "https"):
        return "it has to begin with http:// or https://."
    if not parts.hostname:
        return "it has no host. Write it like 'https://api.example.com/v1'."
    if _authority(url).endswith(":"):
        return "its host ends with a colon. Put a port behind it, or leave the colon out."
    if port == 0:
        return "port 0 cannot be called."
    return _host_problem(_authority(url), parts.hostname)


def _host_problem(authority: str, host: str) -> str:
    if authority.startswith("["):
        # What stands between the brackets was looked at with the port.
        return "" if re.fullmatch(r"\[.*\](:[0-9]*)?", authority) else "only a port can follow the brackets."
    if not host.isascii():
        # Letters of many alphabets look alike: a key would go to another host than the one that is read.
        return "its host has letters beyond a to z. Write it in its ASCII form, which begins with 'xn--'."
    labels = host.removesuffix(".").split(".")
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        return "its host is no name: letters, digits and hyphens, with dots between. Put the real one in."
    if labels[-1].isdigit() and not _is_ip(host):
        return "its host is no IP address. Four numbers from 0 to 255 make one."
    return ""


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
