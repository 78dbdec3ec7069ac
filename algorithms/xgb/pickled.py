"""Pickled boosters, as SageMaker's images before 1.3 wrote them: writing one, and reading without running its code."""

from __future__ import annotations

import copyreg
import io
import json
import pickle
import pickletools
from typing import Any

import xgboost as xgb

from algorithms.xgb import ubjson
from algorithms.xgb.portable import portable
from recordio.limits import MOST_PICKLE_CALLS, MOST_PICKLE_TUPLES


class PickleRefused(ValueError):  # noqa: N818 - the file may be sound
    """A pickle holds something else than one Booster, or is damaged."""


class _Booster:
    """Stands for ``xgboost.core.Booster``: takes the state, does nothing with it."""


def _reconstruct(kind: type, base: type, state: Any) -> _Booster:
    if (kind, base, state) != (_Booster, object, None):
        raise PickleRefused("it makes an object other than a Booster")
    return _Booster()


def _latin_1(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleRefused("it encodes something else than bytes")
    return text.encode("latin-1")


def _bytearray(content: Any = b"", encoding: Any = None) -> bytearray:
    """Of bytes, or of text that stands for them; not of a number, which is a size."""
    if encoding is not None:
        return bytearray(_latin_1(content, encoding))
    if not isinstance(content, bytes):
        raise PickleRefused("it makes a byte array of something else than bytes")
    return bytearray(content)


_ADMITTED: dict[tuple[str, str], Any] = {
    ("xgboost.core", "Booster"): _Booster,
    **dict.fromkeys([("builtins", "bytearray"), ("__builtin__", "bytearray")], _bytearray),
    **dict.fromkeys([("builtins", "object"), ("__builtin__", "object")], object),
    **dict.fromkeys([("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")], _reconstruct),
    ("_codecs", "encode"): _latin_1,
}
_CALLS = ("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD")
_PUT = ("PUT", "BINPUT", "LONG_BINPUT")
_GET = ("GET", "BINGET", "LONG_BINGET")
_REUSED = (
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "SHORT_BINSTRING", "BINSTRING"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "GLOBAL", "STACK_GLOBAL", "EMPTY_LIST", "EMPTY_DICT"),
)
"""What a pickle may refer to again: texts, bytes, names, and what cannot be a dictionary's key. Tuples are not among
these: a hundred of them, each holding the one before twice, take a few hundred bytes, and as a key 2**100 steps to
hash."""


_TUPLES = ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_LARGEST = 1 << 64
"""All multiples of 2**61 - 1 have the same hash: a dictionary with n such keys takes n**2 steps."""


_TEXT = b"ccopy_reg\n_reconstructor\n"
"""With which protocols 0 and 1 begin an object."""


class _Unpickler(pickle.Unpickler):
    """Knows the few names in ``_ADMITTED``, all harmless; any other name ends the reading before it is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise PickleRefused(f"it asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise PickleRefused("it refers to something outside of itself")


def _check_sizes(data: bytes) -> None:
    """Refuse a pickle that would take more memory, or more time, than the size of the file accounts for.

    It is done before anything is built: Python's own reader allocates memory for a length, or for a place in its memo,
    before it finds that the file does not have as much.
    """
    calls, tuples, last = 0, 0, ""
    kept: dict[int, str] = {}  # by the place in the memo, what was put there
    for number, (code, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
        calls += code.name in _CALLS
        if calls > MOST_PICKLE_CALLS:
            raise PickleRefused(f"it calls more than {MOST_PICKLE_CALLS} functions")
        tuples += code.name in _TUPLES
        if tuples > MOST_PICKLE_TUPLES:
            raise PickleRefused(f"it makes more than {MOST_PICKLE_TUPLES} tuples")
        if isinstance(argument, int) and not isinstance(argument, bool) and abs(argument) >= _LARGEST:
            raise PickleRefused("it has an integer of more than 64 bits")
        if code.name in _PUT and not 0 <= int(argument or 0) <= number:
            raise PickleRefused(f"it numbers its {number}th part {argument}")
        if code.name == "DUP" or (code.name in _GET and kept.get(int(argument or 0)) not in _REUSED):
            raise PickleRefused("it uses a part of it twice that is no text")
        if code.name == "MEMOIZE" or code.name in _PUT:
            kept[len(kept) if argument is None else int(argument)] = last
        else:
            last = code.name


class _Pickler(pickle.Pickler):
    """Writes every Booster with one memory image."""

    def __init__(self, file: io.BytesIO, image: bytearray) -> None:
        super().__init__(file, protocol=4)  # that of images 1.2-1 and 1.2-2
        self._image = image

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, xgb.Booster):
            return NotImplemented
        return copyreg.__newobj__, (xgb.Booster,), {"handle": self._image}  # type: ignore[attr-defined]


def dumps(booster: xgb.Booster) -> bytes:
    """The booster as a pickle that opens where XGBoost 1.7 or later is, with equal predictions.

    ``pickle.dumps`` of XGBoost 3.1 or later has a ``base_score`` that earlier versions misread: see ``portable``.
    """
    model = portable(booster)
    # The configuration of a booster that was trained tells in how many runs it was.
    configuration = json.loads(xgb.Booster(model_file=bytearray(model)).save_config())
    image = bytes(ubjson.dumps({"Config": configuration})).removesuffix(b"}") + ubjson.name("Model") + model + b"}"
    file = io.BytesIO()
    _Pickler(file, bytearray(image)).dump(booster)
    return file.getvalue()


def is_pickle(data: bytes) -> bool:
    """Whether ``data`` starts as a pickle of protocol 2 or later does, or as one of 0 or 1 with an object.

    Python 2, which the image of version 0.72 runs on, writes protocol 0.
    """
    return data.startswith(_TEXT) or (data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"))


def booster_state(data: bytes) -> bytes:
    """The serialised model inside a pickled Booster.

    Raises:
        PickleRefused: the pickle is damaged or holds, or asks for, anything else.
    """
    try:
        _check_sizes(data)
        found = _Unpickler(io.BytesIO(data)).load()
    except PickleRefused:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise PickleRefused(f"it is damaged ({type(error).__name__}: {error})") from error
    handle = vars(found).get("handle") if isinstance(found, _Booster) else None
    if not isinstance(handle, bytes | bytearray):
        raise PickleRefused("it holds no trained Booster")
    return bytes(handle)
