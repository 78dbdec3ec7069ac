"""What a job shows on a user's machine: a few lines for people, and a progress bar in the last line of a terminal.

The image prints every line that SageMaker's does, for dashboards and tuning jobs to read. Here ``#metrics`` lines and
the like are shown only with ``--verbose``, and the lines of epochs or rounds less often as their number grows.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any, TextIO

from local.parameters import Loudness

_FRAME = re.compile(r"\[[^\]\n]*?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)[^\]\n]*\] ")
_STEP = re.compile(r"#quality_metric: host=\S+, epoch=(\d+)|Epoch\[(\d+)\]|Checkpoint \[(\d+)\]|\[(\d+)\](?=[\t#])")
_FOR_PROGRAMS = re.compile(
    r"#metrics |#progress_metric|#throughput_metric|#early_stopping|#\w+_score \(|Epoch\[\d+\] Batch \[|"
    r"Reading default configuration|Merging with provided|Final configuration|Process \d+ is a worker|"
    r"Docker entrypoint called|Running default environment|"
    r"#quality_metric: host=\S+, epoch=\d+, batch=|\[[0-9:]+\] Task \d+ got rank|"
    r"Using default worker|Checkpoint loading and saving|Number of GPUs|Create Store|Saved checkpoint|\s*$"
)
_ROWS_READ = "{n_fmt} rows [{elapsed}, {rate_fmt}]"
_ROUNDS_DONE = "{n_fmt} rounds [{elapsed}, {rate_fmt}{postfix}]"
_DONE_OF_ALL = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Console:
    """Where a job is followed (``container.training.job.Output``): shows lines.

    Args:
        terminal: gets the lines, and a bar where it is a terminal and rows or steps are counted.
        errors: gets those about errors.
    """

    def __init__(self, terminal: TextIO, errors: TextIO, loudness: Loudness) -> None:
        self._terminal = terminal
        self._errors = errors
        self._loudness = loudness
        self._bar: ProgressBar | None = None
        self._bar_is_wanted = loudness is not Loudness.QUIET

    def write(self, text: str) -> None:
        """Write a line of the log, with its line end."""
        frame = _FRAME.match(text)
        level = frame["level"] if frame else "INFO"
        if level in ("ERROR", "CRITICAL"):
            self._hide_bar()
            self._errors.write(f"Error: {text[frame.end() :].removeprefix('Customer Error: ')}" if frame else text)
        elif self._loudness is Loudness.VERBOSE:
            self._show(text)
        elif level == "WARNING" and frame:
            self._show(f"Warning: {text[frame.end() :]}")
        elif self._loudness is Loudness.NORMAL and is_for_people(text[frame.end() if frame else 0 :]):
            self._show(text[frame.end() if frame else 0 :])

    def flush(self) -> None:
        """Show what was written, and the bar below it."""
        if self._bar:
            self._bar.draw()
        else:
            self._flush()

    def rows(self, count: int) -> None:
        """So many more rows were read."""
        if bar := self._bar_of_counts():
            bar.rows(count)

    def steps(self, done: int, total: int | None) -> None:
        """So many epochs or rounds are done."""
        if bar := self._bar_of_counts():
            bar.steps(done, total)

    def _bar_of_counts(self) -> ProgressBar | None:
        """The bar, made at the first count."""
        if self._bar_is_wanted:
            self._bar, self._bar_is_wanted = bar_on(self._terminal), False
        return self._bar

    def close(self) -> None:
        """Remove the bar. The log may flush once more when the process ends."""
        if self._bar:
            self._bar.close()
        self._bar, self._bar_is_wanted = None, False
        self._flush()

    def tell(self, line: str) -> None:
        """Show a line to the user, whatever the loudness."""
        self._show(f"{line}\n")
        self._flush()

    def _show(self, text: str) -> None:
        self._hide_bar()
        try:
            self._terminal.write(text)
        except BrokenPipeError:
            self._nobody_reads()

    def _flush(self) -> None:
        try:
            self._terminal.flush()
        except BrokenPipeError:
            self._nobody_reads()

    def _nobody_reads(self) -> None:
        """Train on in silence, as the reader has gone (``| head``); the interpreter's last flush must succeed."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._terminal = io.StringIO()

    def _hide_bar(self) -> None:
        if self._bar:
            self._bar.hide()


def is_for_people(message: str) -> bool:
    """Whether a line without its frame is shown by default.

    Lines of a step are for steps 0, 1, 2, 5, 10, 20, 50 and so on: enough to follow a job by. Lines of single batches
    are for programs.

    >>> [is_for_people(f"[{round}]\\ttrain-auc:0.5") for round in (0, 2, 3, 14, 20, 120, 200)]
    [True, True, False, False, True, False, True]
    >>> is_for_people("#metrics {}")
    False
    """
    if _FOR_PROGRAMS.match(message):
        return False
    if match := _STEP.match(message):
        step = int(next(number for number in match.groups() if number is not None))
        return str(step).rstrip("0") in ("", "1", "2", "5")
    return True


class ProgressBar:
    """The last line of a terminal, by tqdm: rows read, epochs or rounds done. Log lines scroll above it.

    It counts rows until the first epoch or round is over, and epochs or rounds from then on. It has the window's width.
    """

    def __init__(self, terminal: TextIO, kind: type[Any]) -> None:
        self._rows = 0
        kind.monitor_interval = 0  # no thread of its own beside those of training
        self._bar = kind(
            file=terminal,
            unit="row",
            unit_scale=True,
            leave=False,
            **({"dynamic_ncols": True} if _has_size(terminal) else {"ncols": 80, "nrows": 24}),
            smoothing=0,  # the average rate: it is of rows first, and of epochs then
            bar_format=_ROWS_READ,
        )

    @property
    def shown(self) -> bool:
        """Whether tqdm draws it: its own variables of the environment can forbid that."""
        return not self._bar.disable

    def rows(self, count: int) -> None:
        """So many more rows were read."""
        self._rows += count
        if self._bar.bar_format == _ROWS_READ:
            self._bar.update(count)
        else:
            self._bar.set_postfix_str(self._counted(), refresh=False)
            self._bar.update(0)

    def steps(self, done: int, total: int | None) -> None:
        """So many epochs or rounds are done, of ``total`` where that is known."""
        self._bar.bar_format = _DONE_OF_ALL if total else _ROUNDS_DONE
        self._bar.unit, self._bar.unit_scale = "round", False
        self._bar.total, self._bar.n = total, done
        self._bar.set_postfix_str(self._counted())

    def _counted(self) -> str:
        """Nothing where no rows are told of, as images are not."""
        return f"{self._bar.format_sizeof(self._rows)} rows" if self._rows else ""

    def hide(self) -> None:
        """Make room for a log line."""
        self._bar.clear()

    def draw(self) -> None:
        """Draw it again below the log lines."""
        self._bar.refresh()

    def close(self) -> None:
        """Take it away for good."""
        self._bar.close()


def _has_size(terminal: TextIO) -> bool:
    """Whether it tells its size: one that does not has 0 lines, and tqdm would draw nothing on them."""
    try:
        return all(os.get_terminal_size(terminal.fileno()))
    except OSError:
        return False


def bar_on(terminal: TextIO) -> ProgressBar | None:
    """A bar where there is a terminal, and tqdm, which comes with the extra ``local``.

    None where there is not, or where TQDM_DISABLE is set.
    """
    if not terminal.isatty():
        return None
    try:
        from tqdm import tqdm  # not wanted, and perhaps not there, where there is no terminal
    except ImportError:
        return None
    bar = ProgressBar(terminal, tqdm)
    return bar if bar.shown else None
