"""The model folders of all nine algorithms: a ModelError, or a model that predicts.

An input is the number of a file of the folder, one byte, and what stands in it; the other files are as they were saved.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np

from algorithms import registry
from algorithms.errors import ModelError, PredictionError
from algorithms.interface import Algorithm
from recordio.batches import Batch
from recordio.errors import DataError
from tests.algorithms.small_models import MODELS, fit
from tests.fuzz.engine import Target

_WIDEST = 10_000  # features of a row that is predicted


def _make(name: str) -> Target:
    algorithm = registry.find(name)
    folder = tempfile.TemporaryDirectory(prefix="fuzz")
    saved, spoiled = Path(folder.name, "saved"), Path(folder.name, "spoiled")
    saved.mkdir()
    MODELS[name]().save(saved)
    files = sorted(file.name for file in saved.iterdir())
    seeds = [bytes([number]) + (saved / file).read_bytes() for number, file in enumerate(files)]

    def check(data: bytes) -> None:
        _ = folder  # kept until the end
        if not data:
            return
        shutil.rmtree(spoiled, ignore_errors=True)
        shutil.copytree(saved, spoiled)
        (spoiled / files[data[0] % len(files)]).write_bytes(data[1:])
        _load(algorithm, spoiled)

    return Target(seeds, check)


def _load(algorithm: type[Algorithm], folder: Path) -> None:
    algorithm.recognises(folder)
    try:
        model = algorithm.load(folder)
    except ModelError:
        return
    width = getattr(model, "feature_dim", None)
    if isinstance(width, int) and 0 < width <= _WIDEST:
        with np.errstate(all="ignore"), contextlib.suppress(PredictionError, DataError):
            model.predict(Batch(np.zeros((1, width), np.float32)))


def _kernel_of_factorization_machines() -> Target:
    """Training on rows and hyperparameters that the input decides: what the compiled inner loops do with them."""
    from algorithms.factorization_machines.steps import _kernel

    assert _kernel is not None, "there is no compiled code: there was no C compiler"

    def check(data: bytes) -> None:
        numbers = (list(data) + [1] * 4)[:4]
        rows = np.resize(np.frombuffer(data + b"\1", np.uint8), (61, 4)).astype(np.float32) / 64
        given = {"num_factors": str(2 + numbers[0] % 7), "mini_batch_size": str(1 + numbers[1] % 61), "epochs": "1"}
        kind = ("regressor", "binary_classifier")[numbers[2] % 2]
        with np.errstate(all="ignore"):
            fit("factorization-machines", rows, feature_dim="4", predictor_type=kind, **given)
            del given["epochs"]  # sweeps
            fit("factorization-machines", rows, feature_dim="4", predictor_type=kind, **given)

    return Target([bytes(range(200)), b"\0\0\1" * 30], check)


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def _kernel_of_lda() -> Target:
    """The compiled update of topics on arrays that the input decides, whose indices may be out of bounds."""
    from algorithms.lda.belonging import _kernel

    assert _kernel is not None, "there is no compiled code: there was no C compiler"

    def check(data: bytes) -> None:
        numbers = np.frombuffer(bytes((data + bytes(32))[:32]), np.int8)
        rows, topics, words = (1 + int(number) % 5 for number in numbers[:3])
        starts = np.append(0, numbers[3 : 3 + rows]).astype(np.int64)
        columns = numbers[8 : 8 + max(0, int(starts[-1]) % 24)].astype(np.int32)
        values = np.abs(numbers[: len(columns)]).astype(np.float32)
        with contextlib.suppress(ValueError):
            _kernel.divide(
                *(values, columns, starts, _random(rows, topics), _random(words, topics)),
                *(_random(rows)[: rows * (int(numbers[3]) % 2)], _random(rows, topics)),
                *(_random(words, topics)[: words * (int(numbers[4]) % 2)], topics),
            )

    return Target([bytes(32), bytes([1, 2, 2, 2, 5]) + bytes(3) + bytes([0, 1, 2, 0, 1])], check)


def _keeping_of_local_steps() -> Target:
    """What a host keeps before its own steps and exchanges after them, with columns and places that the input decides,
    beside numpy's."""
    from algorithms.common import local_steps
    from algorithms.common.hosts import ONE_HOST

    keeping = local_steps._keeping
    assert keeping is not None, "there is no compiled code: there was no C compiler"

    def wrong(numbers: np.ndarray) -> None:
        rows, capacity = 1 + int(numbers[0]) % 9, 1 + int(numbers[1]) % 9
        known = np.zeros(rows, [("place", np.int32), ("count", np.uint16), ("last", np.uint16)])
        known["place"], known["count"] = np.resize(numbers[16:24], rows), np.resize(numbers[24:32], rows) % 3
        columns, used = numbers[4 : 4 + numbers[2] % 12], int(numbers[3])
        parameters, before = (_random(rows, 3), _random(rows)), (_random(capacity, 3), _random(capacity))
        moved, counts = _random(len(columns), 4), np.zeros((2, len(columns)), np.uint16)
        lists = np.zeros(capacity, np.int32), used, np.zeros(capacity, np.int32), used
        for call in (
            lambda: keeping.moved(columns, known, used, parameters, before, moved, *counts),
            lambda: keeping.move(columns, known, used, parameters, before, moved, 1),
            lambda: keeping.keep(columns, known, *lists, 2, parameters, before),
        ):
            with contextlib.suppress(ValueError):
                call()

    def check(data: bytes) -> None:
        numbers = np.frombuffer(bytes((data + bytes(32))[:32]), np.int8).astype(np.int64)
        wrong(numbers)
        rows = 1 + int(numbers[0]) % 9
        columns = numbers[4 : 4 + numbers[2] % 12] % rows
        start = _random(rows, 3), _random(rows)
        arrays = [[one.copy() for one in start] for _ in range(2)]
        one, other = (local_steps.LocalSteps(ONE_HOST, of, by_rows=False) for of in arrays)
        for step in np.split(columns, [len(columns) // 2]):
            one.begin(np.unique(step), 1)
            other._keep(np.unique(step), local_steps.DUE)
        for of in arrays[0] + arrays[1]:
            of += 1
        _equal(one.to_arrays().values(), other.to_arrays().values())
        touched, found = np.unique(columns), []
        for local, compiled in ((one, keeping), (other, None)):
            local_steps._keeping = compiled
            try:
                moved = np.empty((len(touched), 4), np.float32)
                found.append([*local._moved(touched, moved), moved])
                local._move(touched, moved * 2, 1)
            finally:
                local_steps._keeping = keeping
        _equal(found[0] + arrays[0], found[1] + arrays[1])
        _equal(one.to_arrays().values(), other.to_arrays().values())

    return Target([bytes(range(32)), bytes([8, 8, 9, 0]) + bytes(range(8)) + bytes(20)], check)


def _walk_of_xgboost() -> Target:
    """Ways through trees that the input decides, whose nodes may not exist."""
    from algorithms.xgb.walk import _NODE, _walk

    assert _walk is not None, "there is no compiled code: there was no C compiler"

    def check(data: bytes) -> None:
        numbers = np.frombuffer(bytes((data + bytes(32))[:32]), np.int8).astype(np.int32)
        nodes = np.resize(numbers[8:], 4 * (int(numbers[0]) % 7)).view(_NODE)
        trees = int(numbers[1]) % 4
        roots, groups, starts = numbers[4 : 4 + trees], numbers[7 : 7 + trees], _random(1 + int(numbers[2]) % 3)
        rows, scores = _random(2, 1 + int(numbers[2]) % 4), np.empty((2, len(starts)), np.float32)
        with contextlib.suppress(ValueError):
            _walk.predict(nodes, roots, groups, starts, rows, scores, 2, numbers[3] % 4)

    return Target([bytes([6, 1, 3]) + bytes(5) + bytes([0, 1, 2, 0, 0, 255, 0, 0]), bytes(32)], check)


def _equal(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


MAKERS: dict[str, Callable[[], Target]] = {f"model-{name}": partial(_make, name) for name in MODELS} | {
    "factorization-machines": _kernel_of_factorization_machines,
    "lda": _kernel_of_lda,
    "local-steps": _keeping_of_local_steps,
    "walk": _walk_of_xgboost,
}
