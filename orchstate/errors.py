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
contains a secret.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence


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


def quoted(value: object) -> str:
    """Return a value as messages show it: its repr, cut where it is long.

    Examples
    --------
    >>> quoted("gpt")
    "'gpt'"
    >>> len(quoted("x" * 500))
    60
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
