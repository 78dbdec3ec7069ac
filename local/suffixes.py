"""The media type of a file by the suffix of its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CSV = "text/csv"
_SUFFIXES = {
    ".csv": (CSV,),
    ".libsvm": ("text/libsvm",),
    ".svm": ("text/libsvm",),
    ".parquet": ("application/x-parquet",),
    ".pbr": ("application/x-recordio-protobuf",),
    ".rec": ("application/x-recordio-protobuf", "application/x-recordio"),
    ".recordio": ("application/x-recordio-protobuf",),
    ".json": ("application/json",),
    ".jsonl": ("application/jsonlines",),
    ".jpg": ("image/jpeg", "application/x-image"),
    ".jpeg": ("image/jpeg", "application/x-image"),
    ".png": ("image/png", "application/x-image"),
}
"""What a suffix may mean, the likeliest first; the algorithm decides by what it takes."""

COMPRESSED = ".gz"


def media_type(file: Path, accepts: Sequence[str]) -> str | None:
    """The first meaning of the suffix that is in ``accepts``, else its likeliest; None for an unknown suffix.

    >>> media_type(Path("rows.rec"), ["application/x-recordio"])
    'application/x-recordio'
    >>> media_type(Path("rows.CSV.gz"), [])
    'text/csv'
    """
    name = Path(file.name.lower().removesuffix(COMPRESSED))
    meanings = _SUFFIXES.get(name.suffix, ())
    return next((media for media in meanings if media in accepts), meanings[0] if meanings else None)
