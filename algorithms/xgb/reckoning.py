"""How much memory loading a model file will take, estimated from the file.

Two things decide: bytes, each of which is held in a few forms at a time, and trees, for each of which XGBoost and this
package hold some 8 kB, however small it is. A file of 30,000 trees of one split takes 10 times its bytes (20 times in
the old binary format), a file of large trees 3 to 5 times. Measured by ``tests/algorithms/xgb/test_memory.py``.
"""

from __future__ import annotations

from pathlib import Path

from algorithms.xgb.documents import is_text

_PER_BYTE, _PER_BYTE_OF_TEXT = 6, 8
_PER_BYTE_OF_WIDE_TEXT = 11
"""Python holds a text in four bytes for each character if one of them needs four, and in one byte if none needs
more."""

_PER_TREE = 8192
_NAMED = b"tree_param"
"""Of each tree in JSON and in UBJSON."""
_RESERVED = bytes(120)
"""Of each tree in the old binary format, which keeps 128 bytes of zeros for later; other parts have 36 at most."""
_PIECE = 1 << 20


def loading_bytes(path: Path) -> int:
    """The most bytes of memory that loading a model file takes.

    Raises:
        OSError: it cannot be read.
    """
    size, named, reserved, ascii_only, overlap = path.stat().st_size, 0, 0, True, b""
    with path.open("rb") as file:
        text = is_text(file.read(2))
        file.seek(0)
        while piece := file.read(_PIECE):
            ascii_only = ascii_only and piece.isascii()
            piece = overlap + piece
            named += piece.count(_NAMED)
            reserved += piece.count(_RESERVED)
            overlap = piece[1 - len(_NAMED) :]
    per_byte = _PER_BYTE if not text else _PER_BYTE_OF_TEXT if ascii_only else _PER_BYTE_OF_WIDE_TEXT
    return per_byte * size + _PER_TREE * (named or reserved)
