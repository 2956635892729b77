"""Samples: taken in rounds in which every side has its turn, so that all meet the same machine.

A busy machine makes everything slower, and it is never equally busy twice. So a time says
little by itself, and a ratio is taken within each round before the rounds are compared.
"""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Final, Literal

Side = Callable[[], Sequence[float]]
"""Returns the samples of one round."""

Quantity = Literal["max", "p99", "median", "ratio"]
NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Samples:
    """What one side measured.

    Parameters
    ----------
    rounds
        The samples of each round, in the unit of the figure.
    """

    rounds: tuple[tuple[float, ...], ...]

    @property
    def median(self) -> float:
        """The median of all samples."""
        return statistics.median(self._all)

    @property
    def p99(self) -> float:
        """The smallest sample that 99 of 100 do not exceed; with fewer than 100 samples the largest."""
        ordered = sorted(self._all)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    @property
    def max(self) -> float:
        """The largest sample."""
        return max(self._all)

    @property
    def medians(self) -> tuple[float, ...]:
        """The median of each round."""
        return tuple(map(statistics.median, self.rounds))

    @property
    def _all(self) -> list[float]:
        return [sample for samples in self.rounds for sample in samples]

    def above(self, other: Samples) -> Samples:
        """Return by how much each round's median exceeds that of `other`.

        Examples
        --------
        >>> Samples(((5.0,), (7.0,))).above(Samples(((1.0,), (2.0,))))
        Samples(rounds=((4.0,), (5.0,)))
        """
        return Samples(tuple((mine - its,) for mine, its in zip(self.medians, other.medians, strict=True)))


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure should not exceed: a quantity in the figure's unit, or a ratio."""

    of: Quantity
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Parameters
    ----------
    what, unit
        What was measured, and in what.
    ours
        orchstate's side.
    against, reference
        Name and samples of the bare metal; None where nothing compares.
    ceiling
        Above it the run fails.
    goals
        What we want; missing one is shown and fails nothing.
    """

    what: str
    unit: str
    ours: Samples
    against: str = ""
    reference: Samples | None = None
    ceiling: Limit | None = field(default=None, kw_only=True)
    goals: tuple[Limit, ...] = field(default=(), kw_only=True)

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours divided by the reference, round by round."""
        if self.reference is None:
            return ()
        pairs = zip(self.ours.medians, self.reference.medians, strict=True)
        return tuple(mine / its for mine, its in pairs if its > 0)

    @property
    def ratio(self) -> float | None:
        """The median of :attr:`ratios`."""
        return statistics.median(self.ratios) if self.ratios else None

    def keeps(self, limit: Limit) -> bool:
        """Whether a limit is not exceeded; one that could not be measured is."""
        found = self.value_of(limit.of)
        return found is not None and found <= limit.value

    @property
    def is_over(self) -> bool:
        """Whether the ceiling is exceeded."""
        return self.ceiling is not None and not self.keeps(self.ceiling)

    def value_of(self, quantity: Quantity) -> float | None:
        """Return a quantity of this figure."""
        values = {"max": self.ours.max, "p99": self.ours.p99, "median": self.ours.median, "ratio": self.ratio}
        return values[quantity]


def interleave(rounds: int, *sides: Side) -> list[Samples]:
    """Return the samples of every side; in each round another one begins."""
    taken: list[list[tuple[float, ...]]] = [[] for _ in sides]
    for number in range(rounds):
        for turn in range(len(sides)):
            side = (number + turn) % len(sides)
            gc.collect()
            taken[side].append(tuple(sides[side]()))
    return [Samples(tuple(found)) for found in taken]


def timed(
    run: Callable[[int], object], count: int, *, rest: Callable[[], object] | None = None
) -> list[float]:
    """Return the microseconds that each of `count` calls took; `rest` is called between them, untimed."""
    samples = []
    for number in range(count):
        start = perf_counter_ns()
        run(number)
        samples.append((perf_counter_ns() - start) / NS_PER_US)
        if rest:
            rest()
    return samples


def timed_loops(run: Callable[[Iterable[int]], object], count: int, *, size: int) -> list[float]:
    """Return the microseconds per step of `count` loops over `size` steps, for what is too quick to time."""
    return [one / size for one in timed(lambda _: run(range(size)), count)]


def noise(samples: int = 40) -> list[float]:
    """Return the milliseconds that the same work took again and again."""
    return [took / 1_000 for took in timed(lambda _: sum(range(100_000)), samples)]
