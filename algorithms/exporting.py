"""Models in the forms of other programs: ONNX graphs, scikit-learn's estimators, documents of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from algorithms import registry
from algorithms.errors import ExportError
from algorithms.interface import Model

FORMS = ("onnx", "sklearn", "json")


def exported(algorithm: str, model: Model, form: str, names: Sequence[str] | None = None) -> Any:
    """A model of ``algorithm`` in one of the ``FORMS``: an ``onnx.ModelProto``, a fitted estimator of scikit-learn or
    XGBoost, or a dict that JSON can say.

    The functions that make it, ``to_onnx``, ``to_sklearn`` and ``to_json``, are in the ``export.py`` of the algorithm's
    folder, and so are reasons why there is none (``WHY_NOT``).

    Args:
        names: what the features are called, in their order; None where that is not known.

    Raises:
        ExportError: this model has no such form, with the reason; or a package that makes it is not installed.
    """
    if form not in FORMS:
        raise ExportError(f"there is no form {form!r} of models; there are {', '.join(FORMS)}")
    module = registry.part(algorithm, "export")
    make: Callable[[Any], Any] | None = getattr(module, f"to_{form}", None)
    if make is None:
        reason = getattr(module, "WHY_NOT", {}).get(form, "there is no such form of it; docs/export.md lists them")
        raise ExportError(f"a model of {algorithm} cannot be exported to {form}: {reason}")
    try:
        made = make(model)
    except ModuleNotFoundError as error:
        raise ExportError(f"an export to {form} needs the package '{error.name}', which is not installed") from error
    if names is not None:
        _check_count(model.feature_dim, names)
        _NAMED[form](made, list(names))
    return made


def _check_count(features: int | None, names: Sequence[str]) -> None:
    if features not in (None, len(names)):
        raise ExportError(f"the model has {features} features, and {len(names)} names are given")


def _name_graph(graph: Any, names: list[str]) -> None:
    graph.metadata_props.add(key="feature_names", value=json.dumps(names))


def _name_estimator(estimator: Any, names: list[str]) -> None:
    """``feature_names_in_`` of an estimator, and of the one in it that it asks. XGBoost's are its booster's."""
    if hasattr(estimator, "get_booster"):
        _name_booster(estimator.get_booster(), names)
        return
    import numpy as np

    for one in (estimator, getattr(estimator, "estimator", None)):
        if one is not None:
            one.feature_names_in_ = np.array(names, object)


def _name_booster(booster: Any, names: list[str]) -> None:
    _check_count(booster.num_features(), names)
    booster.feature_names = names


def _name_document(document: dict[str, Any], names: list[str]) -> None:
    document["feature_names"] = names


_NAMED: dict[str, Callable[[Any, list[str]], None]] = {
    "onnx": _name_graph,
    "sklearn": _name_estimator,
    "json": _name_document,
}
