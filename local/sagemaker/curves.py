"""A job's metrics as small drawings for the page: SVG without script or network."""

from __future__ import annotations

import functools
import html
from collections.abc import Sequence
from pathlib import Path

from local.sagemaker import kept_logs

_WIDTH, _HEIGHT, _MARGIN = 160, 36, 3
_MOST_POINTS = 160
"""Most points of a curve: one for each pixel."""

_MOST_CURVES = 6
_OF_THE_MACHINE = ("throughput", "progress")
"""Ends of the names of metrics that tell nothing about the model."""


def drawn(events: Path) -> str:
    """The curves of the job whose lines and metrics are in ``events``; empty where there are none yet."""
    if not events.is_file():
        return ""
    state = events.stat()
    return _drawn(events, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1000)
def _drawn(events: Path, _changed: int, _size: int) -> str:
    found = kept_logs.curves(events).items()
    named = [(name, values) for name, values in found if not name.endswith(_OF_THE_MACHINE)]
    return "".join(curve(name, values) for name, values in named[:_MOST_CURVES])


def curve(name: str, values: Sequence[float]) -> str:
    """One metric: its name, its last value and, where there are several, their course; the least value is lowest.

    >>> "<svg" in curve("loss", [1.0])
    False
    """
    told = f'<span class="metric">{html.escape(name)} {values[-1]:.5g}</span>'
    if len(values) < 2:
        return told
    low, high = min(values), max(values)
    about = f"{name}: {len(values)} values, {values[0]:.5g} to {values[-1]:.5g}, from {low:.5g} to {high:.5g}"
    shown, height = _thinned(values), (high / 2 - low / 2) or 1.0  # halves: a float's whole range is no float
    points = " ".join(
        f"{_MARGIN + (_WIDTH - 2 * _MARGIN) * place / (len(shown) - 1):.1f},"
        f"{_MARGIN + (_HEIGHT - 2 * _MARGIN) * ((high / 2 - value / 2) / height):.1f}"
        for place, value in enumerate(shown)
    )
    return (
        f'{told}<svg role="img" width="{_WIDTH}" height="{_HEIGHT}" aria-label="{html.escape(about)}">'
        f'<title>{html.escape(about)}</title><polyline points="{points}" class="line s0"/></svg>'
    )


def _thinned(values: Sequence[float]) -> list[float]:
    """At most ``_MOST_POINTS`` of them, evenly, with the first and the last."""
    if len(values) <= _MOST_POINTS:
        return list(values)
    last = len(values) - 1
    return [values[round(place * last / (_MOST_POINTS - 1))] for place in range(_MOST_POINTS)]
