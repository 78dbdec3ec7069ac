"""Text from outside inside our messages: nothing of it may start a line, end one, or take the reader's time.

>>> quoted("ten")
"'ten'"
>>> escaped("a\\nb\\u2028c")
'a\\\\nb\\\\u2028c'
>>> shortened("x" * 5000, 21)
'xx… (5000 characters)'
"""

from __future__ import annotations

from recordio.limits import QUOTED_CHARACTERS


def escaped(text: str, keep: str = "") -> str:
    """``text`` with every character that cannot be printed (line ends of all kinds, controls of terminals and of the
    direction of text, lone surrogates) as Python writes it: ``\\n``, ``\\x1b``, ``\\u2028``. Those in ``keep`` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode("ascii") for one in text
    )


def shortened(text: str, most: int = QUOTED_CHARACTERS) -> str:
    """``text``, or the start of it and its length, together no more than ``most`` characters."""
    end = f"… ({len(text)} characters)"
    return text if len(text) <= most else f"{text[: max(most - len(end), 0)]}{end}"


def quoted(value: object) -> str:
    """A value between quotation marks, escaped and shortened, as messages show it."""
    return f"'{escaped(shortened(str(value)))}'"
