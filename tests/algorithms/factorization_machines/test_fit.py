from __future__ import annotations

import itertools
import json
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from algorithms.errors import ModelError, PredictionError, TrainingDataError, TrainingStopped
from algorithms.events import FinalScore
from algorithms.factorization_machines import (
    FactorizationMachines,
    FactorizationMachinesHyperparameters,
    schedule,
    steps,
)
from algorithms.factorization_machines.checkpoints import Place, resume, to_checkpoint
from algorithms.factorization_machines.model import FactorizationMachine, load, recognises
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.steps import DenseRows, Moments, SparseRows, State, Term
from algorithms.hyperparameters import parse
from recordio.batches import Batch
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts

RNG = np.random.default_rng(5)


@pytest.fixture(params=["kernel", "numpy"])
def kernel(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(steps, "_kernel", None)
    elif steps._kernel is None:
        pytest.skip("the compiled kernel is not built")
    return request.param


def hyperparameters(**values: object) -> FactorizationMachinesHyperparameters:
    given = {"feature_dim": 6, "num_factors": 3, "predictor_type": "regressor", **values}
    return parse(FactorizationMachinesHyperparameters, {name: str(value) for name, value in given.items()})


def sparse(rows: np.ndarray) -> sp.csr_array:
    return sp.csr_array(rows.astype(np.float32))


def parameters(d: int = 6, k: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        RNG.normal(size=1).astype(np.float32),
        RNG.normal(size=d).astype(np.float32),
        RNG.normal(size=(d, k)).astype(np.float32),
    )


def rows(n: int = 5, d: int = 6) -> np.ndarray:
    return (RNG.normal(size=(n, d)) * (RNG.random((n, d)) < 0.5)).astype(np.float32)


def by_definition(x: np.ndarray, bias: np.ndarray, linear: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Rendle (2010), equation 1: every pair on its own, in float64."""
    pairs = itertools.combinations(range(len(linear)), 2)
    interactions = sum(np.dot(*factors[[i, j]].astype(float)) * x[:, i].astype(float) * x[:, j] for i, j in pairs)
    return bias + x @ linear.astype(float) + interactions


@pytest.mark.parametrize("form", [np.asarray, sparse])
def test_scores_are_those_of_the_definition(form):
    x = rows()
    bias, linear, factors = parameters()
    model = FactorizationMachine(bias, linear, factors, "regressor")
    expected = by_definition(x, bias, linear, factors)
    np.testing.assert_allclose(model.predict(Batch(form(x)))["score"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [np.asarray, sparse])
def test_gradients_are_those_of_numerical_differentiation(form, kernel):
    x = rows(n=7)
    bias, linear, factors = parameters()
    weights = RNG.normal(size=7).astype(np.float32)
    batch = form(x)
    if sp.issparse(batch):
        step = SparseRows(batch, linear, factors, np.empty(6, np.int32))
    else:
        step = DenseRows(batch, linear, factors)
    linear_gradient, factor_gradient = step.gradients(weights)
    columns = np.arange(6)[step.columns]
    h = 1e-4
    for place, column in enumerate(columns):
        moved = linear.astype(float).copy()
        moved[column] += h
        slope = (by_definition(x, bias, moved, factors) - by_definition(x, bias, linear, factors)) @ weights / h
        assert linear_gradient[place] == pytest.approx(slope, rel=1e-2, abs=1e-2)
        for f in range(3):
            moved = factors.astype(float).copy()
            moved[column, f] += h
            slope = (by_definition(x, bias, linear, moved) - by_definition(x, bias, linear, factors)) @ weights / h
            assert factor_gradient[place, f] == pytest.approx(slope, rel=1e-2, abs=1e-2)


def test_first_step_of_adam_moves_each_touched_parameter_by_its_learning_rate(kernel):
    # Kingma and Ba: with both moments at zero the first step is rate * g / (|g| + epsilon), whatever the size of g.
    hp = hyperparameters(factors_wd=0, linear_wd=0, bias_wd=0, linear_lr=0.5, bias_lr=0.25)
    state = State(hp, seed=0)
    before = state.linear.copy(), state.bias.copy()
    x = np.zeros((2, 6), np.float32)
    x[:, 2] = 1
    state.update(Batch(sparse(x)), np.array([100, 100], np.float32))
    moved = state.linear - before[0]
    np.testing.assert_allclose(moved, [0, 0, 0.5, 0, 0, 0], rtol=1e-4)
    np.testing.assert_allclose(state.bias - before[1], [0.25], rtol=1e-4)


def test_learning_rates_fall_linearly_over_the_epochs(kernel):
    state = State(hyperparameters(feature_dim=3, linear_wd=0, linear_lr=0.01), seed=0)
    state.begin(3, 4)
    before = state.linear.copy()
    state.update(Batch(sparse(np.array([[1, 0, 2]]))), np.array([5], np.float32))
    np.testing.assert_allclose(np.abs(state.linear - before), [0.0025, 0, 0.0025], rtol=1e-3)


@pytest.mark.parametrize(("rates", "due"), [((0.0001, 0.01), 8), ((0.004, 0.0001), 20), ((0.001, 0.0001), 64)])
def test_hosts_exchange_a_column_the_sooner_the_further_steps_move_it(rates, due, monkeypatch):
    """By its linear weight or its factors, whichever has the larger rate, where all of them are not soon exchanged."""
    monkeypatch.setattr("algorithms.factorization_machines.steps.CACHE", 0)
    hp = hyperparameters(linear_lr=rates[0], factors_lr=rates[1])
    batch, labels = Batch(sparse(np.eye(6)[[1]])), np.ones(1, np.float32)

    def run(hosts):
        state, found = State(hp, 0, hosts), []
        for steps_taken in (due - 1, 1):
            for _ in range(steps_taken):
                state.step_alone(batch, labels)
            found.append(state.agree(stopped=False, step=1e-9).touched)
        return found

    assert on_hosts(2, run) == [[0, 1], [0, 1]]


def test_seconds_of_a_step_are_about_those_that_were_measured():
    """AWS's retail shape, which caches hold, and rows of 20 of ten million features. That of the first was taken for
    6 ms: hosts then exchanged every 16 steps, which took longer than the steps did."""

    def seconds(d: int, k: int, values: int, columns: int) -> float:
        state = types.SimpleNamespace(factors=np.zeros((1, k)), size=3 * 4 * d * (k + 1))
        return State.seconds(state, 1000, values, columns)

    assert 0.6e-3 < seconds(9_284, 64, 8_000, 5_400) < 1.2e-3
    assert 2e-3 < seconds(10_000_000, 8, 20_000, 18_400) < 4e-3


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells how memory is mapped")
def test_moments_take_huge_pages_only_where_steps_go_everywhere():
    """Where they go to a few rows, huge pages would fill the memory with zeros."""
    d = 1 << 20

    def huge_after(columns: np.ndarray, resumed: bool = False) -> bool:
        state = State(hyperparameters(feature_dim=d), seed=0)
        if resumed:
            resume(state, to_checkpoint(state, Place(schedule.Schedule(1, 1), Sums(binary=False))))
        ones = np.ones(len(columns), np.float32)
        row = sp.csr_array((ones, columns, np.array([0, len(columns)])), shape=(1, d))
        state.update(Batch(row), np.ones(1, np.float32))
        flags = {mapping_flags(state.moments["factors"].first), mapping_flags(state.moments["factors"].second)}
        assert len(flags) == 1
        return "hg" in flags.pop()

    assert huge_after(np.arange(0, d, 1000))
    assert not huge_after(np.arange(1000))
    assert huge_after(np.arange(1000), resumed=True)


def mapping_flags(array: np.ndarray) -> tuple[str, ...]:
    """What Linux notes of the memory that begins where the array does; see proc(5)."""
    address, inside = array.ctypes.data, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if "-" in name:
            start, end = (int(one, 16) for one in name.split("-"))
            inside = start <= address < end
        elif inside and name == "VmFlags:":
            return tuple(values)
    raise AssertionError("not mapped")


def test_only_features_that_occur_are_changed(kernel):
    state = State(hyperparameters(), seed=0)
    before = state.factors.copy()
    x = np.zeros((3, 6), np.float32)
    x[:, [1, 4]] = 1
    state.update(Batch(sparse(x)), np.ones(3, np.float32))
    assert np.flatnonzero((state.factors != before).any(axis=1)).tolist() == [1, 4]


def test_gradients_are_not_cut_at_0_or_less():
    """As MXNet's optimizers have it."""
    batch, labels = Batch(sparse(rows(40))), RNG.normal(size=40).astype(np.float32)
    states = [State(hyperparameters(**more), 1) for more in ({}, {"clip_gradient": -1}, {"clip_gradient": 0})]
    for state in states:
        state.update(batch, labels)
    assert all(np.array_equal(state.factors, states[0].factors) for state in states)


def placed(arrays, gap, order):
    """The arrays (float32) as they are, in one block of memory, in this order and so many bytes apart."""
    block = np.zeros(sum(array.nbytes + gap for array in arrays) + 64, np.uint8)
    start, found = -block.ctypes.data % 64, {}
    for place in order:
        array = arrays[place]
        found[place] = block[start : start + array.nbytes].view(np.float32).reshape(array.shape)
        found[place][...] = array
        start += array.nbytes + gap
    return [found[place] for place in range(len(arrays))]


@pytest.mark.parametrize("k", [2, 3, 8, 9, 16, 33])
def test_where_arrays_lie_does_not_change_how_the_kernel_rounds(k):
    if steps._kernel is None:
        pytest.skip("the compiled kernel is not built")
    rng = np.random.default_rng(k)
    row, columns = rng.normal(size=3).astype(np.float32), np.arange(3)
    starts, one = np.array([0, 3]), np.zeros(1, np.int64)
    factors, linear = rng.normal(size=(3, k)).astype(np.float32), np.zeros(3, np.float32)
    given = [*rng.normal(size=(4, k)).astype(np.float32)]
    found = set()
    for gap, order in itertools.product((0, 4, 16, 32, 256), itertools.permutations(range(4))):
        parameters, first, second, gradient = placed([*given[:2], given[2] ** 2, given[3]], gap, order)
        steps._kernel.adam(parameters, first, second, one, gradient, k, 0.9, 0.999, 0.01, 1e-8, 0.001, np.inf)
        products, scores, of_factors, near = placed(
            [np.zeros((1, k), np.float32), np.zeros(1, np.float32), np.zeros((3, k), np.float32), factors], gap, order
        )
        steps._kernel.forward(row, columns, starts, linear, near, products, scores)
        slopes, of_linear = np.full(1, 0.7, np.float32), np.zeros(3, np.float32)
        steps._kernel.backward(row, columns, starts, linear, near, columns, products, slopes, of_linear, of_factors)
        results = parameters, first, second, products, scores, of_linear, of_factors
        found.add(b"".join(array.tobytes() for array in results))
    assert len(found) == 1


@pytest.mark.parametrize("form", [np.asarray, sparse])
def test_kernel_and_numpy_take_the_same_steps(form, monkeypatch):
    if steps._kernel is None:
        pytest.skip("the compiled kernel is not built")
    hp = hyperparameters(factors_init_sigma=0.3, factors_lr=0.01, clip_gradient=0.05)
    batches = [(Batch(form(rows(40))), RNG.normal(size=40).astype(np.float32)) for _ in range(20)]
    compiled, plain = State(hp, 1), State(hp, 1)
    for batch, labels in batches:
        compiled.update(batch, labels)
    monkeypatch.setattr(steps, "_kernel", None)
    for batch, labels in batches:
        plain.update(batch, labels)
    np.testing.assert_allclose(compiled.factors, plain.factors, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(compiled.linear, plain.linear, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(compiled.bias, plain.bias, rtol=1e-3, atol=1e-5)


def test_steps_on_all_columns_are_compiled():
    """In NumPy they took four times as long: a seventh of a job of small batches went to the bias alone."""
    if steps._kernel is None:
        pytest.skip("the compiled kernel is not built")
    shape = (2000, 64)
    moments, parameters, gradient = Moments(shape), np.zeros(shape, np.float32), np.ones(shape, np.float32)
    tracemalloc.start()
    try:
        moments.step(parameters, slice(None), gradient, Term(0.1, 0.0, 1e-8, np.inf), 1)
        assert tracemalloc.get_traced_memory()[1] < gradient.nbytes / 10  # NumPy needs arrays as large as the gradient
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(parameters, -0.1, rtol=1e-5)


@pytest.mark.parametrize(("count", "d"), [(0, 4), (1, 1), (500, 30), (3000, 100_000)])
def test_columns_that_occur_are_numbered_whatever_is_in_the_scratch_space(kernel, count, d):
    columns = RNG.integers(0, d, count)
    scratch = RNG.integers(-count, 2 * count + 1, d, np.int32)
    for _ in range(2):
        different, numbers = steps._numbered(columns, scratch)
        np.testing.assert_array_equal(np.sort(different), np.unique(columns))
        np.testing.assert_array_equal(different[numbers], columns)


def test_a_column_that_occurs_twice_in_a_row_counts_as_its_sum(kernel):
    doubled = sp.csr_array((np.ones(3, np.float32), np.array([1, 1, 2]), np.array([0, 3])), shape=(1, 6))
    bias, linear, factors = parameters()
    step = SparseRows(doubled, linear, factors, np.empty(6, np.int32))
    assert sorted(step.columns.tolist()) == [1, 2]


@pytest.mark.parametrize("form", [np.asarray, sparse])
def test_learns_interactions_that_no_linear_model_can(form, kernel):
    users, items = RNG.integers(0, 10, 4000), RNG.integers(0, 10, 4000)
    x = np.zeros((4000, 20), np.float32)
    x[np.arange(4000), users] = 1
    x[np.arange(4000), 10 + items] = 1
    y = ((users + items) % 2).astype(np.float32)  # exclusive or: no main effects at all
    hp = hyperparameters(
        feature_dim=20,
        predictor_type="binary_classifier",
        epochs=40,
        factors_lr=0.05,
        factors_init_sigma=0.1,
        mini_batch_size=200,
    )
    job = FakeJob()
    channels = {"train": MemoryStream(form(x), y, epochs_left=40), "test": MemoryStream(form(x), y)}
    FactorizationMachines.fit(hp, channels, job)
    scores = {event.metric: event.value for event in job.of(FinalScore)}
    assert scores["binary_classification_accuracy"] > 0.99
    assert scores["binary_f_1.000"] > 0.99


def test_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, mean_squared_error

    raw, classes = RNG.normal(size=50).astype(np.float32), RNG.integers(0, 2, 50).astype(np.float32)
    scores = Sums(binary=True)
    for part in (slice(0, 20), slice(20, 50)):
        scores.add(raw[part], classes[part])
    values = {score.metric: score.value for score in scores.scores("train")}
    assert values["binary_classification_accuracy"] == pytest.approx(accuracy_score(classes, raw >= 0))
    assert values["binary_f_1.000"] == pytest.approx(f1_score(classes, raw >= 0))
    expected = log_loss(classes, 1 / (1 + np.exp(-raw.astype(float))))
    assert values["binary_classification_cross_entropy"] == pytest.approx(expected, rel=1e-5)
    regression = Sums(binary=False)
    regression.add(raw, classes)
    values = {score.metric: score.value for score in regression.scores("train")}
    assert values["mse"] == pytest.approx(mean_squared_error(classes, raw), rel=1e-5)
    assert values["absolute_loss"] == pytest.approx(mean_absolute_error(classes, raw), rel=1e-5)


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_model_survives_saving(tmp_path, kind):
    model = FactorizationMachine(*parameters(), kind)
    model.save(tmp_path)
    assert recognises(tmp_path)
    batch = Batch(rows())
    for name, values in load(tmp_path).predict(batch).items():
        np.testing.assert_array_equal(values, model.predict(batch)[name])


def test_a_model_without_our_meta_data_is_told_by_its_symbol(tmp_path):
    import zipfile

    FactorizationMachine(*parameters(), "binary_classifier").save(tmp_path)
    path = tmp_path / "model_algo-1"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert json.loads(members.pop("meta.json"))["predictor_type"] == "binary_classifier"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert load(tmp_path).predictor_type == "binary_classifier"


def test_a_damaged_model_is_refused(tmp_path):
    FactorizationMachine(*parameters(), "regressor").save(tmp_path)
    path = tmp_path / "model_algo-1"
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError):
            load(tmp_path)


def test_wrong_width_is_refused():
    with pytest.raises(PredictionError, match="7 features, but the model has 6"):
        FactorizationMachine(*parameters(), "regressor").predict(Batch(rows(d=7)))


def test_what_cannot_be_trained_on_is_named():
    hp = hyperparameters(predictor_type="binary_classifier")
    with pytest.raises(TrainingDataError, match="0 or 1, but one is 2"):
        FactorizationMachines.fit(hp, {"train": MemoryStream(rows(3), np.array([0, 1, 2]))}, FakeJob())
    wild = hyperparameters(linear_lr=1e30, factors_lr=1e30, epochs=5, mini_batch_size=1)
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingDataError, match=r"smaller values \(factors_lr is 1e\+30, linear_lr is 1e\+30"),
    ):
        FactorizationMachines.fit(wild, {"train": MemoryStream(rows(50), np.arange(50))}, FakeJob())
    huge = MemoryStream(rows(50), np.full(50, 1e30))
    with (
        np.errstate(all="ignore"),
        pytest.raises(TrainingDataError, match=r"labels are of about 1e\+30.*give no epochs"),
    ):
        FactorizationMachines.fit(hyperparameters(epochs=5, mini_batch_size=5), {"train": huge}, FakeJob())


def test_a_stop_leaves_no_model():
    with pytest.raises(TrainingStopped):
        FactorizationMachines.fit(
            hyperparameters(), {"train": MemoryStream(rows(50), np.arange(50))}, FakeJob(stop_after=0)
        )


def test_parameters_start_as_their_method_says():
    start = State(hyperparameters(linear_init_method="uniform", linear_init_scale=0.5), 0).linear
    assert np.abs(start).max() <= 0.5
    alike = State(hyperparameters(factors_init_method="constant", factors_init_value=0.2), 0).factors
    assert (alike == np.float32(0.2)).all()


@pytest.mark.parametrize("term", ["bias", "linear", "factors"])
def test_a_start_without_its_parameter_is_of_the_usual_size(term):
    """A tuning job over the methods alone, as SageMaker allows it, loses none of them."""
    sigma = {"bias": 0.01, "linear": 0.01, "factors": 0.001}[term]
    many = {"feature_dim": 20_000, "num_factors": 2, f"{term}_init_method": "uniform"}
    start = getattr(State(hyperparameters(**many), 0), term)
    assert 0 < np.abs(start).max() <= np.float32(np.sqrt(3) * sigma)
    if term != "bias":
        assert start.std() == pytest.approx(sigma, rel=0.02)
    alike = getattr(State(hyperparameters(**{f"{term}_init_method": "constant"}), 0), term)
    assert (alike == np.float32(sigma)).all()


# ---- how long it trains -------------------------------------------------------------------------------------------


def held_out(x, y, kind, **values):
    """The loss on a fifth of the rows, as (factorization machine, linear model of scikit-learn), and the job."""
    cut = 4 * len(y) // 5
    job = FakeJob()
    hp = hyperparameters(predictor_type=kind, feature_dim=x.shape[1], num_factors=8, **values)
    model = FactorizationMachines.fit(hp, {"train": MemoryStream(x[:cut], y[:cut])}, job)
    answers = model.predict(Batch(x[cut:]))["score"]
    if kind == "regressor":
        linear = Ridge().fit(x[:cut], y[:cut]).predict(x[cut:])
        return (np.sqrt(np.mean((one - y[cut:]) ** 2)) for one in (answers, linear)), job
    linear = LogisticRegression(max_iter=1000).fit(x[:cut], y[:cut]).predict_proba(x[cut:])[:, 1]
    return (log_loss(y[cut:], np.clip(one, 1e-7, 1 - 1e-7)) for one in (answers, linear)), job


def linear_data(count, d, kind, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, d)).astype(np.float32)
    z = x @ random.normal(size=d)
    y = z + random.normal(size=count) if kind == "regressor" else (z + random.logistic(size=count) > 0)
    return x, y.astype(np.float32)


@pytest.mark.parametrize("kind", ["regressor", "binary_classifier"])
def test_defaults_are_no_worse_than_a_linear_model_where_that_is_the_truth(kind):
    (ours, linear), job = held_out(*linear_data(3000, 10, kind, 1), kind)
    assert ours <= 1.05 * linear
    assert not [line for line in job.warnings if "steps" in line]


def test_defaults_find_the_interactions_that_a_linear_model_cannot():
    random = np.random.default_rng(2)
    x, v = random.normal(size=(4000, 12)).astype(np.float32), random.normal(size=(12, 3)) / 2
    pairs = (np.square(x @ v) - np.square(x) @ np.square(v)).sum(axis=1) / 2
    (ours, linear), _ = held_out(x, (x[:, 0] + pairs + random.normal(size=4000) / 2).astype(np.float32), "regressor")
    assert ours < 0.5 * linear


def test_a_pipe_is_read_once_where_epochs_are_not_given():
    x, y = linear_data(500, 6, "regressor", 3)
    stream, job = MemoryStream(x, y, epochs_left=1), FakeJob()
    FactorizationMachines.fit(hyperparameters(), {"train": stream}, job)
    assert stream.epochs_begun == 1
    assert any("ended after 1 steps" in line for line in job.warnings)


def test_epochs_that_are_given_are_kept_to():
    x, y = linear_data(500, 6, "regressor", 3)
    stream = MemoryStream(x, y)
    FactorizationMachines.fit(hyperparameters(epochs=3), {"train": stream}, FakeJob())
    assert stream.epochs_begun == 3


def test_a_weight_decay_that_wipes_out_the_interactions_is_named():
    x, y = linear_data(500, 6, "regressor", 3)
    job = FakeJob()
    hp = hyperparameters(factors_wd=1, epochs=400, mini_batch_size=50)
    FactorizationMachines.fit(hp, {"train": MemoryStream(x, y)}, job)
    assert any("factors_wd=1 draws the factors to zero" in line for line in job.warnings)


def test_a_stop_after_the_first_epoch_keeps_the_model():
    x, y = linear_data(500, 6, "regressor", 3)
    job = FakeJob(stop_after=150)
    model = FactorizationMachines.fit(
        hyperparameters(epochs=100, mini_batch_size=5), {"train": MemoryStream(x, y)}, job
    )
    assert model.feature_dim == 6
    assert any("of 1 of 100 epochs" in line or "of 2 of 100 epochs" in line for line in job.warnings)


@pytest.mark.parametrize("given", [{"epochs": 3}, {}])
@pytest.mark.parametrize("hosts", [1, 2])
def test_batches_of_sparse_rows_without_any_value_teach_the_bias(given, hosts, monkeypatch):
    """One-hot rows of which a whole batch has no known feature; and a set of nothing else."""
    monkeypatch.setattr(schedule, "SMALL_STEPS", 120)
    monkeypatch.setattr(schedule, "PASSES", 60)
    hp = hyperparameters(bias_lr=0.1, mini_batch_size=20, **given)
    empty, some = sparse(np.zeros((40, 6))), sparse(np.vstack([np.zeros((20, 6)), np.eye(6)]))

    def learned(x):
        y = np.full(x.shape[0], 3, np.float32)

        def fit(own):
            mine = slice(own.rank, None, own.size)
            return FactorizationMachines.fit(hp, {"train": MemoryStream(x[mine], y[mine])}, FakeJob(hosts=own))

        return on_hosts(hosts, fit)[0].predict(Batch(x))["score"]

    assert np.isfinite(learned(some)).all()
    np.testing.assert_allclose(learned(empty), 3, atol=3 if given else 0.1)  # three passes do not get there


@pytest.mark.parametrize(
    ("kind", "given", "warned"),
    [
        ("regressor", {"linear_lr": 300, "epochs": 12}, "has diverged; choose smaller values (factors_lr is 0.0001, "),
        ("binary_classifier", {"linear_lr": 300, "epochs": 12}, "has diverged"),
        ("regressor", {"linear_lr": 1e-6, "bias_lr": 1e-6, "epochs": 300}, "has not come far enough"),
        ("regressor", {"linear_lr": 0.01, "epochs": 50}, None),
        ("regressor", {"epochs": 1}, None),
        ("regressor", {"use_bias": "false"}, None),
        ("regressor", {"linear_lr": 3000}, "has diverged"),
    ],
)
def test_a_model_that_is_worse_than_a_constant_is_warned_of(kind, given, warned, monkeypatch):
    monkeypatch.setattr(schedule, "SMALL_STEPS", 600)
    monkeypatch.setattr(schedule, "PASSES", 50)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = 3 + x[:, 0] + 0.1 * rng.normal(size=400)
    labels = (y > 3) if kind == "binary_classifier" else y
    job = FakeJob()
    values = hyperparameters(predictor_type=kind, mini_batch_size=100, **given)
    FactorizationMachines.fit(values, {"train": MemoryStream(x, labels.astype(np.float32))}, job)
    said = [line for line in job.warnings if "that of a constant is" in line]
    assert len(said) == (warned is not None)
    assert not warned or warned in said[0]


@pytest.mark.parametrize(
    ("kind", "label", "given", "warned"),
    [
        ("binary_classifier", 1, {"epochs": 200}, False),
        ("regressor", 0, {"epochs": 100}, False),
        ("regressor", 7.3, {"epochs": 100, "bias_lr": 1}, False),
        ("binary_classifier", 1, {"linear_lr": 300, "epochs": 20}, True),
        ("regressor", 0, {"linear_lr": 300, "epochs": 20}, True),
    ],
)
def test_labels_that_are_all_alike_are_no_sign_of_divergence(kind, label, given, warned):
    """A constant has no loss there, and steps have some."""
    x, job = np.random.default_rng(0).normal(size=(100, 6)).astype(np.float32), FakeJob()
    values = hyperparameters(predictor_type=kind, mini_batch_size=20, **given)
    FactorizationMachines.fit(values, {"train": MemoryStream(x, np.full(100, label, np.float32))}, job)
    assert any("has diverged" in line for line in job.warnings) == warned
