"""Model files that mean the same in every XGBoost from 1.7 on.

XGBoost 3.1 and later write ``base_score``, the first prediction of all rows, as a list (``"[1.05E2]"``), which older
versions do not understand: they take 0.5 without a word. They do read a scalar, and so do the newer ones. Some
objectives also have parameters in the file that older versions insist on, though they are of use in training only.

The scalar is written as XGBoost writes it: older versions read a number with more than nine digits as 0.5, too.

A logistic model of labels that are all alike starts from a probability of 0 or 1. XGBoost 3.1 and later clip it to the
nearest probability with a finite logit; older ones refuse to predict. So the clipped probability is written.
"""

from __future__ import annotations

import struct

import xgboost as xgb

_BASE_SCORE = b"L" + struct.pack(">q", 10) + b"base_score"
_OBJECTIVE = b"L" + struct.pack(">q", 9) + b"objective{"
_LOGISTIC = b"binary:logistic", b"reg:logistic"


def portable(booster: xgb.Booster) -> bytes:
    """The booster as UBJSON that XGBoost 1.7 and later read with equal predictions.

    A booster whose classes start from different scores, which XGBoost 3.1 makes and this project does not, has no such
    form: it stays as XGBoost writes it. See ``is_portable``.
    """
    data = bytes(booster.save_raw("ubj"))
    # After the last base_score only numbers and the objective follow, no text in which a user could have put it.
    start = data.rindex(_BASE_SCORE) + len(_BASE_SCORE)
    scores, end = _string(data, start)
    objective = data.index(_OBJECTIVE, end) + len(_OBJECTIVE)
    name = _objective(data[objective:])
    score = _inner(_scalar(scores)) if name in _LOGISTIC else _scalar(scores)
    return data[:start] + _written(score) + data[end:objective] + _parameters_of_old(name) + data[objective:]


def is_portable(booster: xgb.Booster) -> bool:
    """Whether all outputs of the booster start from the same score."""
    data = bytes(booster.save_raw("ubj"))
    scores, _ = _string(data, data.rindex(_BASE_SCORE) + len(_BASE_SCORE))
    return not _scalar(scores).startswith(b"[")


def _scalar(scores: bytes) -> bytes:
    """The one number of a list of equal ones; anything else as it is."""
    numbers = set(scores.removeprefix(b"[").removesuffix(b"]").split(b","))
    return numbers.pop() if len(numbers) == 1 else scores


def _inner(score: bytes) -> bytes:
    """The probability as XGBoost 3.1 and later clip it before they take its logit (``kRtEps`` of its source)."""
    if score.startswith(b"["):
        return score
    return b"1E-6" if float(score) < 1e-6 else b"9.99999E-1" if float(score) > 0.999999 else score


def _objective(objective: bytes) -> bytes:
    """The objective's name, from the inside of its object."""
    return _string(objective, objective.index(_name("name")) + len(_name("name")))[0]


def _parameters_of_old(name: bytes) -> bytes:
    """Members of the objective's object that XGBoost 1.7 (rankings) and 2.1 (squared log error) ask for."""
    if name.startswith(b"rank:"):
        return _object("lambda_rank_param", {"fix_list_weight": "0", "num_pairsample": "1"})
    if name == b"reg:squaredlogerror":
        return _object("reg_loss_param", {"scale_pos_weight": "1"})
    return b""


def _object(name: str, members: dict[str, str]) -> bytes:
    texts = (_name(key) + _written(value.encode()) for key, value in members.items())
    return _name(name) + b"{" + b"".join(texts) + b"}"


def _name(text: str) -> bytes:
    return b"L" + struct.pack(">q", len(text)) + text.encode()


def _written(text: bytes) -> bytes:
    return b"SL" + struct.pack(">q", len(text)) + text


def _string(data: bytes, start: int) -> tuple[bytes, int]:
    """The UBJSON string value at ``start``, whose length XGBoost writes in 8 bytes, and where it ends."""
    begin = start + len(b"SL") + 8
    end = begin + struct.unpack_from(">q", data, start + len(b"SL"))[0]
    return data[begin:end], end
