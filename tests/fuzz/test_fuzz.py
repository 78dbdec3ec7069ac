"""A second or so of every target, more in CI (``FUZZ_SECONDS``); ``python -m tests.fuzz`` goes on for hours."""

from __future__ import annotations

import os
from random import Random

import pytest

from algorithms.common import local_steps
from algorithms.factorization_machines import steps
from algorithms.lda import belonging
from algorithms.xgb import walk
from tests.fuzz import targets
from tests.fuzz.engine import FuzzError, Target, hunt
from tests.fuzz.mutations import mutate

SECONDS = float(os.environ.get("FUZZ_SECONDS", 0.25))
SEED = int(os.environ.get("FUZZ_SEED", 1))


@pytest.mark.parametrize("name", targets.NAMES)
def test_target(name: str) -> None:
    compiled = {"factorization-machines": steps._kernel, "lda": belonging._kernel}
    compiled |= {"local-steps": local_steps._keeping, "walk": walk._walk}
    if compiled.get(name, name) is None:
        pytest.skip("the compiled code was not built: there was no C compiler")
    assert hunt(name, SEED, SECONDS).endswith(" cases")


def test_a_case_is_the_same_each_time() -> None:
    target = Target([b"1,2\n3,4\n", b"5"], lambda data: None)
    first = [target.case("csv", 7, number) for number in range(50)]
    assert first == [target.case("csv", 7, number) for number in range(50)]
    assert len(set(first)) > 30
    assert first != [target.case("csv", 8, number) for number in range(50)]


def test_mutations_change_something() -> None:
    seeds = [b'{"a": [1, 2.5], "b": "c"}']
    changed = [mutate(Random(number), seeds) for number in range(200)]
    assert sum(data != seeds[0] for data in changed) > 190


def test_a_failure_names_what_to_run_again() -> None:
    with pytest.raises(
        FuzzError, match=r"(?s)self-test, seed 3, case 8: .*tenth.*--target self-test --seed 3 --case 8"
    ):
        hunt("self-test", 3, 5)
