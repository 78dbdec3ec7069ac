"""What XGBoost says, in warnings and errors, brought to the job's log and to this package's errors."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

import xgboost as xgb

from algorithms.errors import AlgorithmInputError, HyperparameterError, TrainingDataError
from algorithms.interface import Job
from recordio.limits import LOGGED_CHARACTERS
from recordio.quoting import shortened

_PLACE = re.compile(r"(\[[0-9:]+\] )?(WARNING: )?(/\S+:[0-9]+: )?(Check failed: )?")
_STACK = "Stack trace:"

# Parts of what XGBoost 3 says when the rows, and not the code, are at fault.
_DATA = (
    *("label", "Label", "`inf`", "pos or neg", "No more tree left", "feature_names mismatch", "Number of columns"),
    *("query group", "Size of weight", "number of features", "group_ptr", "binary relevance", "auc <= 1.0", "ategor"),
)
# … and when the hyperparameters are.
_HYPERPARAMETERS = (
    *(
        "Parameter",
        "Invalid Input",
        "Out of range value",
        "base_score",
        "monotone constraint",
        "only support",
        "doesn't support",
    ),
    *("is not supported", "can not be used", "num_class", "must be in format"),
)


def first_line(error: object) -> str:
    """The message of XGBoost's error or warning on one line, without time, source file and stack trace, and shortened:
    XGBoost quotes names, and whole documents."""
    text = str(error).partition(_STACK)[0]
    match = _PLACE.match(text)
    return shortened(" ".join(text[match.end() if match else 0 :].split()), LOGGED_CHARACTERS)


def translated(error: BaseException) -> AlgorithmInputError | None:
    """The error that tells the user what to change; None where it is not the user's fault."""
    text = first_line(error)
    if any(part in text for part in _HYPERPARAMETERS):
        return HyperparameterError([f"XGBoost cannot use the hyperparameters: {text}"])
    if any(part in text for part in _DATA):
        return TrainingDataError(f"XGBoost cannot train on the data: {text}")
    return None


@contextlib.contextmanager
def logged(job: Job) -> Iterator[None]:
    """XGBoost's warnings become the job's while the block runs; it has no other way to give them.

    XGBoost keeps the ``verbosity`` of a booster for the whole process: here it ends with the block.
    """

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        if "WARNING:" in str(message):
            job.warning(first_line(message))
        else:
            usual(message, category, filename, *rest)

    with xgb.config_context(verbosity=1), warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.filterwarnings("always", message=r"\[[0-9:]+\] WARNING:", category=UserWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
