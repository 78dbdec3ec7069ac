"""Metrics in the lines of a log, by patterns that users write."""

from __future__ import annotations

import contextlib
import math

import regex

from local.metric_lines import TAB

LINE_SECONDS = 0.2
"""Longest time for one pattern on one line. It usually takes microseconds, and by backtracking might take years."""

LONGEST_LINE = 16384
"""Most characters of a line that are searched: metrics are near its start, and time grows with the length."""


class MetricPattern:
    """The regular expression of a metric, whose first group is the value.

    The search does not block other threads, and takes at most ``LINE_SECONDS``; a pattern that takes longer is not used
    again.

    Args:
        name: of the metric, for messages.
        pattern: in Python's syntax.

    Raises:
        ValueError: it is none, or has no group.
    """

    def __init__(self, name: str, pattern: str) -> None:
        self.name, self._given_up = name, False
        try:
            self._pattern = regex.compile(pattern)
        except (regex.error, OverflowError, RecursionError) as error:
            raise ValueError(f"the Regex of {name} cannot be used: {error}") from error
        if not self._pattern.groups:
            raise ValueError(f"the Regex of {name} has no group for the value: {pattern}")

    def value(self, line: str) -> float | None:
        """The finite value that ``line`` has; None where it has none.

        Raises:
            TimeoutError: the search took too long; it is not tried again.
        """
        if self._given_up:
            return None
        try:
            match = self._pattern.search(line[:LONGEST_LINE], timeout=LINE_SECONDS, concurrent=True)
        except TimeoutError as error:
            self._given_up = True
            raise TimeoutError(
                f"The Regex of the metric {self.name} took more than {LINE_SECONDS} s on one line: the metric is no "
                "longer looked for. Repetitions inside of repetitions, as in (a+)+, take so long"
            ) from error
        with contextlib.suppress(ValueError, AttributeError):  # a line that only resembles the metric
            if match and math.isfinite(value := float(match[1].partition(TAB)[0])):
                return value
        return None
