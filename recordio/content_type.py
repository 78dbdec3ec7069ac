"""Content types: ``text/csv; label_size=1`` and every other way of writing the same.

The grammar is HTTP's (RFC 9110, sections 5.6.6 and 8.3.1): names are case-insensitive, white space may stand around
each semicolon, a value is a token or a quoted string, an empty parameter is nothing. White space may stand around the
equals sign, too, as Amazon's XGBoost container takes it. A parameter given twice with two values is refused, since the
standard leaves its meaning open.

    >>> parse('TEXT/CSV ;label_size="1"; Charset=UTF8')
    ContentType(media_type='text/csv', parameters={'label_size': '1', 'charset': 'UTF8'})
    >>> print(parse("libsvm"))
    text/libsvm
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from recordio.errors import ContentTypeError

CSV = "text/csv"
LIBSVM = "text/libsvm"
PARQUET = "application/x-parquet"
RECORDIO = "application/x-recordio-protobuf"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
JPEG = "image/jpeg"

# Other names of the same formats: those that SageMaker's documentation and containers take.
_ALIASES = {
    "csv": CSV,
    "libsvm": LIBSVM,
    "text/x-libsvm": LIBSVM,
    "parquet": PARQUET,
    "recordio-protobuf": RECORDIO,
    "json": JSON,
    "jsonlines": JSON_LINES,
    "image/jpg": JPEG,
    "application/jpeg": JPEG,
    "application/jpg": JPEG,
}

# A row of numbers is ASCII, so in these charsets its bytes are those of ASCII; the others must be recoded.
_ASCII_BASED = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
_RECODED = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})

_DELIMITERS = {
    ",": b",", ";": b";", "|": b"|", "\t": b"\t", " ": b" ",
    "comma": b",", "semicolon": b";", "pipe": b"|", "tab": b"\t", "space": b" ", "\\t": b"\t", "t": b"\t",
}  # fmt: skip
# ("t" is what the grammar makes of "\\t" in quotes)

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(rf"{_TOKEN}(?:/{_TOKEN})?")
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?')
_ENDS = re.compile(r"[ \t]*(?:;|$)")
# Two delimiters that people write without the quotes that the grammar asks for: a semicolon and the letters \\t.
_BARE_DELIMITER = re.compile(r"[ \t]*;[ \t]*(delimiter)[ \t]*=[ \t]*(;|\\t)(?=[ \t]*(?:;|$))", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True)
class ContentType:
    """A media type in its standard spelling, and its parameters with names in lower case."""

    media_type: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "".join([self.media_type, *(f"; {name}={_quoted(value)}" for name, value in self.parameters.items())])

    @property
    def label_size(self) -> int | None:
        """How many leading columns of a CSV row are labels; None where the content type does not say.

        Raises
        ------
        ContentTypeError
            the value is not a count.
        """
        text = self.parameters.get("label_size")
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ContentTypeError(f"'{self}': label_size must be a count such as 0 or 1, and is '{text}'")
        return int(text)

    @property
    def delimiter(self) -> bytes:
        """What stands between the fields of a CSV row: comma, semicolon, pipe, tab or space.

        Raises
        ------
        ContentTypeError
            the value is none of them, as such or in words.
        """
        text = self.parameters.get("delimiter", ",")
        if text.lower() not in _DELIMITERS:
            raise ContentTypeError(
                f"'{self}': the delimiter {text!r} is not supported; supported are comma, semicolon, pipe, tab and "
                "space, as words or as characters in quotes: 'text/csv; delimiter=\";\"'"
            )
        return _DELIMITERS[text.lower()]

    @property
    def recoding(self) -> str | None:
        """The charset that text must be decoded from before it is read; None where its bytes are those of ASCII.

        Raises
        ------
        ContentTypeError
            the charset is unknown, or not one of text.
        """
        text = self.parameters.get("charset", "utf-8")
        try:
            charset = codecs.lookup(text).name
        except (LookupError, ValueError):
            charset = ""
        if charset in _ASCII_BASED or charset == "utf-8-sig":
            return None
        if charset in _RECODED:
            return charset
        known = ", ".join(sorted(_ASCII_BASED | _RECODED))
        raise ContentTypeError(f"'{self}': charset '{text}' is not supported; supported are {known}")


def parse(text: str) -> ContentType:
    """Read a content type as HTTP headers and SageMaker's channel settings spell it.

    Media types without a reader are parsed too; whether one can be read is the business of who reads.

    Raises
    ------
    ContentTypeError
        the text is not a content type, or states a parameter twice, with two values.
    """
    stripped = text.strip(" \t")
    head = _MEDIA_TYPE.match(stripped)
    media_type = _standard(head.group()) if head else None
    if head is None or media_type is None:
        raise ContentTypeError(f"'{text}' is not a content type; one looks like 'text/csv; label_size=1'")
    return ContentType(media_type, _parameters(text, stripped, head.end()))


def _standard(spelled: str) -> str | None:
    name = spelled.lower()
    return _ALIASES.get(name, name if "/" in name else None)


def _parameters(text: str, stripped: str, position: int) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while position < len(stripped):
        if bare := _BARE_DELIMITER.match(stripped, position):
            position = bare.end()
            _set(parameters, bare[1], bare[2], text)
            continue
        part = _PARAMETER.match(stripped, position)
        if part is None or not _ENDS.match(stripped, part.end()):
            raise ContentTypeError(f"'{text}' is not a content type: '{stripped[position:]}' is not a parameter")
        position = part.end()
        name, token, quoted = part.groups()
        if name is None:
            continue
        _set(parameters, name, token if quoted is None else _ESCAPED.sub(r"\1", quoted), text)
    return parameters


def _set(parameters: dict[str, str], name: str, value: str, text: str) -> None:
    if parameters.get(name.lower(), value) != value:
        raise ContentTypeError(f"'{text}' states the parameter '{name.lower()}' twice")
    parameters[name.lower()] = value


def _quoted(value: str) -> str:
    """A parameter's value as the grammar writes it: as it is where it is a token, else in quotes."""
    if re.fullmatch(_TOKEN, value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
