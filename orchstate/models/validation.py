"""Whether something is ready for use, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchstate.errors import Issue


@dataclass(frozen=True, slots=True)
class Validation:
    """The state of validity of one record.

    Parameters
    ----------
    ready
        Whether it can be used as it is; warnings do not stand in the way.
    issues
        What is wrong or doubtful, by field.
    """

    ready: bool
    issues: tuple[Issue, ...] = ()

    @classmethod
    def of(cls, issues: Iterable[Issue]) -> Validation:
        """Return the validation that follows from issues.

        Examples
        --------
        >>> Validation.of([])
        Validation(ready=True, issues=())
        """
        found = tuple(issues)
        return cls(not any(issue.level == "error" for issue in found), found)
