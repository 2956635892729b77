"""A setup as text, and a file that is replaced whole or not at all."""

from __future__ import annotations

import json
import os
import secrets as tokens
import stat
from typing import TYPE_CHECKING, Any, Final

from orchstate.durable import durable
from orchstate.errors import SetupError
from orchstate.exchange.format import FORMAT

if TYPE_CHECKING:
    from pathlib import Path

# Down to here every member has a line of its own; what lies deeper is one value and shares a line if it fits.
_LINES_TO_DEPTH: Final = 4
_WIDTH: Final = 100


def setup_text(value: Any) -> str:
    """Return JSON with one line per field, so that a change of one field is a change of one line.

    Examples
    --------
    >>> print(setup_text({"configs": [{"name": "gpt", "tags": ["a", "b"]}]}), end="")
    {
      "configs": [
        {
          "name": "gpt",
          "tags": ["a", "b"]
        }
      ]
    }
    """
    return _text(value, 0) + "\n"


def check_replaceable(path: Path, store: Path | None) -> None:
    """Refuse to write a setup over anything but a setup or an empty file.

    Parameters
    ----------
    path
        Where the setup is to be written.
    store
        The file of the store that it comes from, None for one in memory.

    Raises
    ------
    SetupError
        If there is something else.
    """
    try:
        target = path.expanduser().resolve()
        if not target.is_file() or not target.stat().st_size:
            return
        # A store's file is not even opened: closing it would drop this process's locks on it.
        is_store = target.with_name(f"{target.name}.lock").exists() or (
            store is not None and target.samefile(store)
        )
        if not is_store and _is_setup(target.read_bytes()):
            return
    except (OSError, ValueError, RuntimeError):
        # Whatever it is, writing will say it.
        return
    raise SetupError(
        "there is a file already, and it is no setup, so it is not overwritten. Choose another name.",
        source=str(path),
    )


def _is_setup(content: bytes) -> bool:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file through a new one in the same folder: at any moment the old or the new one is there.

    An existing file keeps its mode, and a link keeps pointing to it. Returns the path
    with the home folder put in.

    Raises
    ------
    SetupError
        If it cannot be written; an existing file is as it was.
    """
    try:
        path = path.expanduser()
        # Through the end of a link, so that the link itself is not replaced.
        target = path.resolve()
        mode = _mode_to_keep(target)
        new = target.with_name(f".{target.name[:200]}.{tokens.token_hex(4)}.tmp")
        _write_new(new, content, mode)
        try:
            os.replace(new, target)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        durable(target.parent)
        return path
    except FileNotFoundError as error:
        raise SetupError("there is no such folder. Make it first.", source=str(path.parent)) from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SetupError(
            f"the file cannot be written ({reason}). Choose another place.", source=str(path)
        ) from error


def _text(value: Any, depth: int) -> str:
    one_line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or not value:
        return one_line
    is_one_value = depth >= _LINES_TO_DEPTH or (isinstance(value, list) and depth > 1)
    if is_one_value and 2 * depth + len(one_line) <= _WIDTH:
        return one_line
    inner = "  " * (depth + 1)
    if isinstance(value, dict):
        keys = [json.dumps(key, ensure_ascii=False) for key in value]
        lines = [f"{key}: {_text(item, depth + 1)}" for key, item in zip(keys, value.values(), strict=True)]
    else:
        lines = [_text(item, depth + 1) for item in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{inner}" + f",\n{inner}".join(lines) + f"\n{'  ' * depth}{end}"


def _mode_to_keep(target: Path) -> int | None:
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise ValueError("it is a folder; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        # A rename would put a file in the place of a device such as /dev/null.
        raise ValueError("it is not an ordinary file")
    if not found.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(target, os.W_OK):
        # A rename would replace it all the same.
        raise ValueError("it is write-protected")
    return stat.S_IMODE(found.st_mode)


def _write_new(path: Path, content: bytes, mode: int | None) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            if mode is not None:
                os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(fd)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
