"""The lines of the one table: what was measured, ours, the best peer, the limit, and how good both results are.

``python -m benchmarks`` collects the lines of all benchmarks. Every benchmark that has some offers ``lines(quick)``; in
quick mode it takes less data or fewer rounds, and leaves out what takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks.common import Contender, four_digits, table

LIMIT = "limit"
"""The contender that does only what nobody can leave out: a copy of the bytes, a product of matrices."""
COLUMNS = ("what", "ours", "unit", "best peer", "peer's", "times ahead", "limit", "of it", "quality", "peer's quality")


class Quality(NamedTuple):
    """How good a result is.

    Attributes:
        name: what is measured.
        of: a function of a contender's result.
        higher: whether more is better.
    """

    name: str
    of: Callable[[Any], float]
    higher: bool = False

    def text(self, value: float) -> str:
        """With its name, to four significant digits."""
        return f"{self.name} {four_digits(value)}"


class Line(NamedTuple):
    """One comparison. ``ahead`` above 1 says that ours is better; ``share`` is that of the limit's speed."""

    what: str
    ours: float
    unit: str
    peer: str
    theirs: float | None
    ahead: float | None
    limit: str = ""
    share: float | None = None
    quality: str = ""
    peer_quality: str = ""


def raced(
    what: str,
    contenders: Sequence[Contender],
    *,
    limit: str = "",
    quality: Quality | None = None,
    megabytes: float | None = None,
    allowed: float = 0.01,
) -> Line:
    """The line of a race, of which the first contender is ours, and one may be the limit.

    The best peer is the fastest of those whose result is at most ``allowed`` worse than ours (relatively); where there
    is none, the one of the best result.

    Args:
        limit: what the contender named LIMIT does.
        megabytes: state speeds, of so many megabytes in each run, in place of seconds.
    """
    mine, *rest = contenders
    peers = [one for one in rest if one.name != LIMIT]
    best = min(_as_good(mine, peers, quality, allowed), key=lambda one: one.times_slower_than(mine))
    share = [one.times_slower_than(mine) for one in rest if one.name == LIMIT]

    def figure(one: Contender) -> float:
        return megabytes / one.median if megabytes else one.median

    said = [quality.text(quality.of(one.result)) if quality else "" for one in (mine, best)]
    return Line(
        what,
        figure(mine),
        "MB/s" if megabytes else "s",
        best.name,
        figure(best),
        best.times_slower_than(mine),
        limit,
        share[0] if share else None,
        *said,
    )


def _as_good(
    mine: Contender, peers: Sequence[Contender], quality: Quality | None, allowed: float
) -> Sequence[Contender]:
    if quality is None:
        return peers
    sign = -1 if quality.higher else 1
    ours = quality.of(mine.result)
    worst = sign * ours + allowed * abs(ours)
    results = [(sign * quality.of(one.result), one) for one in peers]
    return [one for value, one in results if value <= worst] or [min(results, key=lambda pair: pair[0])[1]]


def as_table(title: str, lines: Sequence[Line]) -> str:
    """The Markdown table."""
    return table(title, COLUMNS, [_cells(line) for line in lines])


def _cells(line: Line) -> tuple[object, ...]:
    share = "" if line.share is None else f"{line.share:.0%}"
    ahead = "" if line.ahead is None else f"{line.ahead:.2f}"
    theirs = "" if line.theirs is None else line.theirs
    return (*line[:4], theirs, ahead, line.limit, share, line.quality, line.peer_quality)
