"""Model files of every format that XGBoost ever wrote, checked before XGBoost sees them.

XGBoost's own readers trust their input: a damaged file can end the process, in loading or later in predicting. So a
file is first read by code that cannot be harmed, its trees are checked to be trees, and what was read is written anew
for XGBoost, as UBJSON whose lists are typed arrays. XGBoost does not read the file itself, since two readers may
differ, in numbers or in names given twice. Types save memory: for each number of a list without a type, as all of
JSON's are, XGBoost makes an object of some 50 bytes.
"""

from __future__ import annotations

import json
from typing import Any

import xgboost as xgb

from algorithms.errors import ModelError
from algorithms.xgb import arrays, legacy, pickled, soundness, ubjson
from algorithms.xgb.messages import first_line

_HEAD = 4096
_MODERN = [1, 7, 0]


def looks_like_model(head: bytes) -> bool:
    """Whether a file that starts with ``head`` may be an XGBoost model, of any format."""
    if head[:1] == b"{":
        quote = b'"' if is_text(head) else b""  # other JSON names an algorithm, as in "linear-learner:1"
        return any(quote + name + quote in head[:_HEAD] for name in (b"learner", b"gradient_booster"))
    return head.startswith(legacy.HEADER) or (pickled.is_pickle(head) and b"xgboost" in head[:_HEAD])


def load_booster(data: bytes, name: str) -> xgb.Booster:
    """The model in ``data``; ``name`` is what messages call it.

    Raises:
        ModelError: it is damaged, of no known format, or a pickle of anything but one Booster.
    """
    content = _checked(data, name)
    del data  # of no more use here, and the caller may have let go of it
    booster = xgb.Booster()
    try:
        booster.load_model(content)
        booster.save_config()  # XGBoost reads objective and parameters when first asked for them
    except (xgb.core.XGBoostError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{name} is not a model that XGBoost can load: {first_line(error)}") from None
    return booster


def why_unsound(booster: xgb.Booster) -> str | None:
    """Why ``load_booster`` would refuse a booster that was trained here; None if it would load it.

    Whatever training can spoil shows in the booster's arrays of float32, so that the document of a sound one is not
    read.
    """
    data = bytes(booster.save_raw("ubj"))
    if not soundness.may_be_refused(ubjson.float_arrays(data)):
        return None
    try:
        soundness.check(_object(data), len(data))
    except ValueError as error:
        return str(error)
    return None


def _checked(data: bytes, name: str) -> bytearray:
    """The model in ``data`` as XGBoost is given it."""
    try:
        document = _document(data)
        soundness.check(document, len(data))
        return ubjson.dumps(document)
    except pickled.PickleRefused as error:
        raise ModelError(
            f"{name} is a Python pickle that is not opened, since opening one can run any code: {error}. If you trust "
            "it, open it yourself, save its Booster with booster.save_model('xgboost-model'), and use that file"
        ) from None
    except (ubjson.UBJSONError, legacy.LegacyError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} is not an XGBoost model, or is damaged: {first_line(error)}") from None
    except KeyError as error:
        raise ModelError(f"{name} is not an XGBoost model, or is damaged: it has no {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"{name} is damaged: {first_line(error)}") from None


def _document(data: bytes) -> dict[str, Any]:
    """The model's document, with the lists of its numbers as arrays."""
    if pickled.is_pickle(data):
        return _modern(_serialised(pickled.booster_state(data)))
    if data[:1] == b"{":
        return _modern(_object(data))
    return arrays.typed_all(legacy.document(data))


def _modern(document: dict[str, Any]) -> dict[str, Any]:
    """Write a document of XGBoost 1.0 to 1.5 as one of 1.7, which holds the same: support of the older is to end."""
    document["version"] = max(list(document.get("version", ())), _MODERN)
    return document


def _object(data: bytes) -> dict[str, Any]:
    if not is_text(data):
        return arrays.typed_all(ubjson.loads(data))
    arrays.check_text(data)
    return json.loads(data, object_hook=arrays.typed)


def is_text(data: bytes) -> bool:
    """Whether what starts so is JSON: in UBJSON the type of a name's length follows the brace."""
    return data[:1] == b"{" and (data[1:2].isspace() or data[1:2] in (b'"', b"}"))


def _serialised(state: bytes) -> dict[str, Any]:
    """The document in a Booster's memory image: the model, and since 1.0 the configuration beside it."""
    if state[:1] == b"{":
        return _object(state)["Model"]
    offset = b"CONFIG-offset:"  # 1.0 to 1.2: an i64 follows, then the model, and at that offset the configuration
    return arrays.typed_all(legacy.document(state[len(offset) + 8 :] if state.startswith(offset) else state))
