"""Every error that orchstate raises, under one base.

::

    OrchstateError
      ValidationError (ValueError)         a value breaks a rule; .issues
      NotFoundError (KeyError)             no such thing; names the closest ones
        UnknownFieldError (AttributeError) no such field on a record
      DuplicateNameError (ValueError)
      LimitExceededError
      StoreError
        StoreWriteError (OSError)          nothing happened
        StoreLockedError
        StoreMovedError                    .path
        ReadOnlyError
        ClosedError
        ForkedStoreError
        LiveObjectError (TypeError)        copied, pickled, or taken apart
        CorruptStoreError                  .ids
        NewerSchemaError
        FlushError                         .receipts
        ConflictError
      SecretError
        SecretUnavailableError
        WrongPassphraseError
        VaultCorruptError
      SetupError                           .source, .path
      BackupError
      ProviderError                        .status
      MissingExtraError (ImportError)
    OrchstateWarning (UserWarning)         it worked, and should be done differently

A message says what happened, shows the value, and names the next step. No message
contains a secret: what looks like a key is not quoted, wherever it was given by mistake.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

_LONGEST_QUOTE: Final = 60
_LONGEST_KEY: Final = 1_000
# What is not quoted: the beginnings of the keys of many providers, tokens, and long stretches of no words.
_BEGINNINGS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:c?sk[-_]|[pr]k[-_]|gsk_|hf_|r8_|fw_|tgp_|gh[opsur]_|github_pat_|glpat-|lsv2_|xai-|pplx-"
    r"|nvapi-|AIza|ya29\.|xox[abp]-)[\w-]{10,}"
)
_TOKEN: Final = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|(?i:\bbearer\s+)(?=\S*[0-9])\S{10,}")
_HOST: Final = re.compile(r"://[^/?#\s]*")
_STRETCH: Final = re.compile(r"[A-Za-z0-9]+")
# Also several without a space between, and a version or a year behind.
_WORDS: Final = re.compile(r"(?:[a-z]*(?:[A-Z][a-z]+)*|[A-Z]+)[0-9]{0,4}")
_LONG: Final = 32
# Between neighbours in random letters and digits the kind changes six times in ten, in words far less often.
_CHANGES: Final = 0.4


class OrchstateWarning(UserWarning):
    """Something that works, and should be done differently."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong, or doubtful, about one field.

    Parameters
    ----------
    field
        Path of the field, such as ``"temperature"`` or ``"agents.timeout"``;
        ``""`` when the issue concerns the whole.
    level
        ``"error"`` stops the edit or the use; ``"warning"`` is only shown.
    message
        One sentence for people: the value, the rule, the next step.
    """

    field: str
    level: Literal["error", "warning"]
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class OrchstateError(Exception):
    """Base of all errors of this package."""


class ValidationError(OrchstateError, ValueError):
    """A value breaks a rule; nothing was changed."""

    def __init__(self, message: str, *, issues: Sequence[Issue] = ()) -> None:
        super().__init__(message)
        self.issues = tuple(issues)

    @classmethod
    def of(cls, issues: Sequence[Issue], *, subject: str = "") -> ValidationError:
        """Return an error whose message lists `issues`, one sentence each."""
        text = "; ".join(str(issue) for issue in issues)
        return cls(f"{subject}: {text}" if subject else text, issues=issues)


class NotFoundError(OrchstateError, KeyError):
    """Nothing has this name or id."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument; a sentence should read as one.
        return str(self.args[0]) if self.args else ""

    @classmethod
    def among(cls, what: str, name: object, known: Iterable[str], *, hint: str = "") -> NotFoundError:
        """Return an error that names the closest of the `known` names.

        Examples
        --------
        >>> print(NotFoundError.among("config", "gtp", ["gpt", "claude"]))
        There is no config 'gtp'. Did you mean 'gpt'?
        """
        closest = suggestion(str(name), sorted(known))
        return cls(f"There is no {what} {quoted(name)}.{closest}{hint and ' ' + hint}")


class UnknownFieldError(NotFoundError, AttributeError):
    """A record of this kind has no such field; nothing was changed."""


class DuplicateNameError(OrchstateError, ValueError):
    """The name is taken; names are compared without regard to case."""


class LimitExceededError(OrchstateError):
    """A limit would be exceeded, of the settings or of what makes sense."""


class StoreError(OrchstateError):
    """The store cannot do this."""


class StoreWriteError(StoreError, OSError):
    """The edit could not be written, so nothing happened."""


class StoreLockedError(StoreError):
    """Another program holds the store's file for too long."""


class StoreMovedError(StoreError):
    """The store's file was removed, moved or replaced while it was open; nothing is committed to it.

    Parameters
    ----------
    message
        What happened, where the changes since are, and what to do.
    path
        Where the file was.
    """

    def __init__(self, message: str, *, path: os.PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.path = path


class ReadOnlyError(StoreError):
    """The store was opened, or can only be opened, for reading."""


class ClosedError(StoreError):
    """The store is closed."""


class ForkedStoreError(StoreError):
    """The store was opened before ``fork()``; the child has to open its own."""


class LiveObjectError(StoreError, TypeError):
    """What is live was to be copied, pickled or taken apart like plain data; nothing was changed."""


class CorruptStoreError(StoreError):
    """Stored data are damaged; the damaged parts are named in `ids`."""

    def __init__(self, message: str, *, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class NewerSchemaError(StoreError):
    """The data were written by a newer orchstate."""


class FlushError(StoreError):
    """Some edits have no outcome yet; see `receipts`."""

    def __init__(self, message: str, *, receipts: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.receipts = tuple(receipts)


class ConflictError(StoreError):
    """Somebody else changed the same thing."""


class SecretError(OrchstateError):
    """A secret could not be read or written."""


class SecretUnavailableError(SecretError):
    """The place where the secret lives is locked, missing, or does not answer."""


class WrongPassphraseError(SecretError):
    """The passphrase does not open the vault."""


class VaultCorruptError(SecretError):
    """The vault file is damaged."""


class SetupError(OrchstateError):
    """A setup file cannot be used.

    Parameters
    ----------
    message
        What was expected, and what to do.
    source
        The file, or what stands for it.
    path
        JSON path of the offending part, ``""`` for the whole file.
    """

    def __init__(self, message: str, *, source: str = "", path: str = "") -> None:
        where = " at ".join(part for part in (source, path) if part)
        super().__init__(f"{where}: {message}" if where else message)
        self.source = source
        self.path = path


class BackupError(OrchstateError):
    """A backup could not be made, verified or restored."""


class ProviderError(OrchstateError):
    """The provider refused a call, or could not be reached.

    Parameters
    ----------
    message
        What happened and what to do; never contains a key.
    status
        HTTP status, None when there was no answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class MissingExtraError(OrchstateError, ImportError):
    """An optional package is not installed; the message has the pip line."""

    @classmethod
    def of(cls, package: str, *, extra: str, purpose: str) -> MissingExtraError:
        """Return the error for a missing `package` that `extra` would bring."""
        return cls(f'{purpose} needs the package {package!r}. Install it: pip install "orchstate[{extra}]"')


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about a misspelt name: the closest ones, or what there is.

    Examples
    --------
    >>> suggestion("gtp", ["gpt", "claude"])
    " Did you mean 'gpt'?"
    >>> suggestion("x", ["gpt", "claude"])
    " There are: 'gpt', 'claude'."
    """
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    if not known:
        return ""
    shown = ", ".join(map(repr, known[:12]))
    return f" There are: {shown}{', ...' if len(known) > 12 else ''}."


def quoted(value: object, longest: int = _LONGEST_QUOTE) -> str:
    """Return a value as messages show it: its repr, cut where it is long; no key, nor what holds one.

    Parameters
    ----------
    value
        Anything that was given.
    longest
        Characters that the result has at most.

    Examples
    --------
    >>> quoted("gpt")
    "'gpt'"
    >>> len(quoted("x" * 500))
    60
    >>> quoted(["sk-proj-0123456789abcdef"])
    '<what looks like a key>'
    """
    text = repr(value)
    # One that begins in what is shown may go on behind it.
    if may_be_key(text[: longest + _LONGEST_KEY]):
        return "<what looks like a key>"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def may_be_key(text: str) -> bool:
    """Whether `text` may well be a key, or hold one: it begins as many do, or has no words in it.

    Examples
    --------
    >>> may_be_key("gsk_0123456789abcdef"), may_be_key("sk-RandomForestClassifier")
    (True, False)
    """
    if _TOKEN.search(text) or any(is_random(found, 10) for found in _BEGINNINGS.findall(text)):
        return True
    # A host may be called as it likes.
    return any(map(_is_opaque, _STRETCH.findall(_HOST.sub("://", text))))


def is_random(text: str, length: int) -> bool:
    """Whether letters and digits stand in `text` at such length as no word has them.

    Words are in one case, but for first letters, and have no digits but at the end, four at most.

    Examples
    --------
    >>> is_random("key-1b2c3d4e5f6a", 12), is_random("INTERNATIONALIZATION_KEY", 12)
    (True, False)
    """
    return any(len(found) >= length for found in stretches_without_words(text))


def stretches_without_words(text: str) -> list[str]:
    """Return what of `text` is neither words nor what stands between words.

    Examples
    --------
    >>> stretches_without_words("sk-proj-gpt4-0f1e2d3c")
    ['0f1e2d3c']
    """
    return [found for found in _STRETCH.findall(text) if not _WORDS.fullmatch(found)]


def _is_opaque(stretch: str) -> bool:
    if len(stretch) < _LONG or sum(map(str.isdigit, stretch)) < 2:
        return False
    if stretch == stretch.lower() or stretch == stretch.upper():
        # Digests and ids.
        return False
    kinds = [(char.isdigit(), char.isupper()) for char in stretch]
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes >= _CHANGES * len(stretch)
