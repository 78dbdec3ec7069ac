"""The order in which Parquet's columns are read: their names say which are the same in all files, not their places."""

from __future__ import annotations

from collections.abc import Sequence

from recordio.errors import ParseError
from recordio.quoting import quoted


class ColumnOrder:
    """The order of a channel's columns: that of its first file, in which all files are read.

    Parameters
    ----------
    like
        the order of the channel that is read first; a channel whose columns have the same names takes it. It is empty
        until one of these channels has an order.

    Attributes
    ----------
    names
        of the columns in this order; empty before the first file.

    >>> train = ColumnOrder()
    >>> test = ColumnOrder(like=train)
    >>> train.settle(["y", "a", "b"])
    >>> test.settle(["b", "a", "y"])
    >>> test.names
    ['y', 'a', 'b']
    """

    def __init__(self, like: ColumnOrder | None = None) -> None:
        self.names: list[str] = []
        self._like = like

    def settle(self, names: Sequence[str]) -> None:
        """Take the order of a file with columns of these ``names``, unless there is an order already."""
        if self._like is not None:
            self._like.settle(self.names or names)
        if not self.names:
            like = [] if self._like is None else self._like.names
            self.names = list(like if set(like) == set(names) else names)

    def of_file(self, names: Sequence[str], file: str) -> list[str]:
        """The order in which to read ``file``, whose columns have these ``names``.

        Raises
        ------
        ParseError
            it lacks a column of the first file, or has one besides.
        """
        self.settle(names)
        for differing, text in ((set(self.names) - set(names), "lacks"), (set(names) - set(self.names), "has besides")):
            if differing:
                raise ParseError(f"{file}: {text} the column {quoted(min(differing))}, unlike the first file")
        return self.names
