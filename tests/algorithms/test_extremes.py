"""Every legal extreme of every hyperparameter: both ends of each range, each word and choice, with all the data, with
two rows and with one. A job trains to a model whose predictions are finite, or is refused in words that name the
hyperparameter; it never fails otherwise, runs on after it was asked to stop, or takes gigabytes.

``OBA_THOROUGH=1`` trains the networks with every extreme too; without it each of their values is parsed, and its memory
reckoned.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import pytest

from algorithms import hyperparameters, registry
from algorithms.errors import HyperparameterError
from container.training.train import check_memory
from tests.algorithms import extremes, samples
from tests.algorithms.extremes import Case, Runner
from tests.algorithms.test_contract import NETWORKS

FIELDS = [
    (name, field)
    for name in registry.ALGORITHMS
    for field in hyperparameters.fields(registry.find(name).hyperparameters)
]
PLAIN: dict[tuple[object, ...], dict[str, str]] = {}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    one = Runner()
    yield one
    one.close()


def plain(runner: Runner, name: str, case: Case) -> dict[str, str]:
    """What comes of the same data with no extreme."""
    key = (name, case.configuration, case.count, *case.more.items())
    if key not in PLAIN:
        (PLAIN[key],) = runner(name, [dataclasses.replace(case, name="", value="")])
    return PLAIN[key]


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=[f"{name}:{field}" for name, field in FIELDS])
def test_extremes_train_or_are_refused_by_name(name: str, field: str, runner: Runner) -> None:
    algorithm, wrong = registry.find(name), []
    cases = list(extremes.cases(algorithm, field))
    if name in NETWORKS and not extremes.THOROUGH:
        for case in cases:
            with contextlib.suppress(HyperparameterError):
                check_memory(
                    algorithm, hyperparameters.parse(algorithm.hyperparameters, case.strings(name)), extremes.MEMORY
                )
        return
    for case, found in zip(cases, runner(name, cases), strict=True):
        if not extremes.accepted(case, found, functools.partial(plain, runner, name)):
            wrong.append(f"{field}={case.value} {case.more or ''} with {case.count or samples.COUNT} rows: {found}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("value", ["1e-39", "-1e-39", "4e38", "1e-400", "1e999"])
def test_a_number_that_single_precision_cannot_hold_is_refused(value: str) -> None:
    """XGBoost says "Out of range value", others took 0 or infinity for it."""
    declared = registry.find("xgboost").hyperparameters
    with pytest.raises(HyperparameterError, match=r"'base_score': .* in size|'base_score'"):
        hyperparameters.parse(declared, {"num_round": "1", "base_score": value})


@pytest.mark.parametrize("value", ["0", "0.0", "2.36e-38", "3.4e38"])
def test_the_ends_of_single_precision_are_taken(value: str) -> None:
    declared = registry.find("xgboost").hyperparameters
    assert hyperparameters.parse(declared, {"num_round": "1", "base_score": value}).base_score == float(value)


def test_an_open_end_is_open_in_single_precision() -> None:
    """XGBoost took 1.9999999999999998 for 2, and its check failed in the middle of a job."""
    declared = registry.find("xgboost").hyperparameters
    with pytest.raises(HyperparameterError, match="'tweedie_variance_power'"):
        hyperparameters.parse(declared, {"num_round": "1", "tweedie_variance_power": "1.9999999999999998"})
