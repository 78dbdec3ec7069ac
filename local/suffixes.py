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
"""The media types of a suffix, the likeliest first; the first that the algorithm accepts is meant."""

COMPRESSED = ".gz"

_ROWS = (CSV, "application/x-recordio-protobuf")
_BY_PANDAS = {
    ".xlsx": "read_excel(FILE)",
    ".xls": "read_excel(FILE)",
    ".ods": "read_excel(FILE)",
    ".json": "read_json(FILE)",
    ".jsonl": "read_json(FILE, lines=True)",
    ".ndjson": "read_json(FILE, lines=True)",
    ".feather": "read_feather(FILE)",
    ".arrow": "read_feather(FILE)",
    ".orc": "read_orc(FILE)",
    ".dta": "read_stata(FILE)",
    ".sav": "read_spss(FILE)",
    ".npy": "DataFrame(numpy.load(FILE))",
}
_PACKED = (".zip", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz")


def media_type(file: Path, accepts: Sequence[str]) -> str | None:
    """The first media type of the suffix that is in ``accepts``, else its likeliest; None for an unknown suffix.

    >>> media_type(Path("rows.rec"), ["application/x-recordio"])
    'application/x-recordio'
    >>> media_type(Path("rows.CSV.gz"), [])
    'text/csv'
    """
    name = Path(file.name.lower().removesuffix(COMPRESSED))
    meanings = _SUFFIXES.get(name.suffix, ())
    return next((media for media in meanings if media in accepts), meanings[0] if meanings else None)


def other_form(file: Path, accepts: Sequence[str]) -> str | None:
    """Advice on a file in a format that is not read, such as a spreadsheet; None if its suffix is of none."""
    suffix = file.suffix.lower()
    if suffix in _PACKED:
        return f"{suffix} files are not unpacked, those of gzip alone are: unpack it first"
    if suffix in _BY_PANDAS and any(media in accepts for media in _ROWS):
        return (
            f"{suffix} files are not read to train, and CSV is, as pandas makes it: "
            f"{_BY_PANDAS[suffix]}.to_csv(NEW, index=False), with --label NAME or --header"
        )
    return None
