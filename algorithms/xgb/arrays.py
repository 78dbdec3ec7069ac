"""The lists of numbers in a model's document as arrays, of the types that XGBoost itself gives them in UBJSON.

In a file a number may take two bytes; in a list it takes up to 32 bytes in Python and some 50 in XGBoost, in an array
four. So lists become arrays as they are read, one tree after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_TYPES: dict[str, np.dtype] = {
    **dict.fromkeys(("left_children", "right_children", "parents", "split_indices"), np.dtype("i4")),
    **dict.fromkeys(("split_conditions", "base_weights", "loss_changes", "sum_hessian"), np.dtype("f4")),
    **dict.fromkeys(("default_left", "split_type"), np.dtype("u1")),
    **dict.fromkeys(("categories", "categories_nodes"), np.dtype("i4")),
    **dict.fromkeys(("categories_segments", "categories_sizes"), np.dtype("i8")),
    "weights": np.dtype("f4"),
    **dict.fromkeys(("feature_segments", "sorted_idx", "offsets"), np.dtype("i4")),
}
"""By name: of a tree, of gblinear, of the names of categories."""

_LISTS = ("tree_info", "iteration_indptr", "weight_drop", "values")
"""Lists with at most one number for each tree, which ``soundness`` counts, and lists of numbers that name categories.
XGBoost has no type for these."""

_MOST_LOOSE = 1_000
"""Most numbers in any other list, such as the version."""

_BYTES_PER_CONTAINER = 8
_FEW_CONTAINERS = 10_000


def typed(members: dict[str, Any]) -> dict[str, Any]:
    """An object of the document, with its lists of numbers made arrays; for ``json.loads``, which asks inside first.

    Raises:
        ValueError: a list has what its name does not allow.
    """
    for name, value in members.items():
        if name in _TYPES and isinstance(value, list | np.ndarray):
            members[name] = _array(value, _TYPES[name], name)
        elif name == "values" and "offsets" in members:  # the bytes of texts
            members[name] = _array(value, np.dtype("i1"), name)
        elif name not in _LISTS and isinstance(value, list) and len(value) > _MOST_LOOSE and not _is_of_parts(value):
            raise ValueError(f"'{name[:50]}' is a list of {len(value)} values, which no model has")
    return members


def _is_of_parts(values: list[Any]) -> bool:
    return isinstance(values[0], str | dict) and isinstance(values[-1], str | dict)


def typed_all(value: Any) -> Any:
    """``typed`` of a document's objects, all of them."""
    if isinstance(value, dict):
        for inner in value.values():
            typed_all(inner)
        typed(value)
    elif isinstance(value, list):
        for inner in value:
            typed_all(inner)
    return value


def _array(values: Any, kind: np.dtype, name: str) -> np.ndarray:
    found = np.asarray(values)
    if found.size == 0 and found.ndim == 1:
        return np.empty(0, kind)
    if found.ndim != 1 or found.dtype.kind not in ("biuf" if kind.kind == "f" else "biu"):
        raise ValueError(f"'{name}' is no list of {'numbers' if kind.kind == 'f' else 'integers'}")
    if kind.kind != "f" and (int(found.min()) < np.iinfo(kind).min or int(found.max()) > np.iinfo(kind).max):
        raise ValueError(f"'{name}' has {found.min()} to {found.max()}, which {kind.name} cannot hold")
    with np.errstate(over="ignore"):
        return found.astype(kind, copy=False)


def check_text(data: bytes) -> None:
    """Refuse JSON that is little but brackets: an empty list takes two bytes there, and 64 in memory.

    Raises:
        ValueError: it has more of them than any model.
    """
    containers = data.count(b"[") + data.count(b"{")
    if containers > _FEW_CONTAINERS + len(data) // _BYTES_PER_CONTAINER:
        raise ValueError(f"it is not an XGBoost model: {containers} lists and objects in {len(data)} bytes")
