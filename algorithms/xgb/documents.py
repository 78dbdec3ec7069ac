"""Model files of every format that XGBoost ever wrote, checked before XGBoost sees them.

XGBoost's own readers trust their input: a damaged file can end the process, in loading or later in predicting. So a
file is first read by code that cannot be harmed, its trees are checked to be trees, and only then is it given to
XGBoost. UBJSON and JSON go on as they are; the formats that XGBoost 3 dropped are turned into JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost as xgb

from algorithms.errors import ModelError
from algorithms.xgb import legacy, pickled, soundness, ubjson
from algorithms.xgb.messages import first_line

_HEAD = 4096
_MODERN = [1, 7, 0]


def looks_like_model(head: bytes) -> bool:
    """Whether a file that starts with ``head`` may be an XGBoost model, of any format."""
    if head[:1] == b"{":
        return b"learner" in head[:_HEAD] or b"gradient_booster" in head[:_HEAD]
    return head.startswith(legacy.HEADER) or (pickled.is_pickle(head) and b"xgboost" in head[:_HEAD])


def load_booster(data: bytes, name: str) -> xgb.Booster:
    """The model in ``data``; ``name`` is what messages call it.

    Raises:
        ModelError: it is damaged, of no known format, or a pickle of anything but one Booster.
    """
    try:
        document, native = _document(data)
        soundness.check(document, len(data))
    except pickled.PickleRefused as error:
        raise ModelError(
            f"{name} is a Python pickle that is not opened, since opening one can run any code: {error}. If you trust "
            "it, open it yourself, save its Booster with booster.save_model('xgboost-model'), and use that file"
        ) from None
    except (ubjson.UBJSONError, legacy.LegacyError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} is not an XGBoost model, or is damaged: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(f"{name} is damaged: {error}") from None
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(data if native else json.dumps(document, default=np.ndarray.tolist).encode()))
        booster.save_config()  # XGBoost reads objective and parameters when first asked for them
    except (xgb.core.XGBoostError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{name} is not a model that XGBoost can load: {first_line(error)}") from None
    return booster


def _document(data: bytes) -> tuple[dict[str, Any], bool]:
    """The model's document, and whether XGBoost itself reads ``data``.

    Of JSON it gets what was read and checked here: two readers of one text may differ, in numbers or names given twice.
    """
    if pickled.is_pickle(data):
        return _modern(_serialised(pickled.booster_state(data))), False
    if data[:1] == b"{":
        document = _object(data)
        native = not _is_text(data) and list(document.get("version", ())) >= _MODERN
        return document if native else _modern(document), native
    return legacy.document(data), False


def _modern(document: dict[str, Any]) -> dict[str, Any]:
    """Documents of 1.0 to 1.5, which XGBoost announces to drop, hold what those of 1.7 do."""
    document["version"] = max(list(document.get("version", ())), _MODERN)
    return document


def _object(data: bytes) -> dict[str, Any]:
    return json.loads(data) if _is_text(data) else ubjson.loads(data)


def _is_text(data: bytes) -> bool:
    """Whether an object is JSON: in UBJSON the type of a name's length follows the brace."""
    return data[1:2].isspace() or data[1:2] in (b'"', b"}")


def _serialised(state: bytes) -> dict[str, Any]:
    """The document in a Booster's memory image: the model, and since 1.0 the configuration beside it."""
    if state[:1] == b"{":
        return _object(state)["Model"]
    offset = b"CONFIG-offset:"  # 1.0 to 1.2: an i64 follows, then the model, and at that offset the configuration
    return legacy.document(state[len(offset) + 8 :] if state.startswith(offset) else state)
