"""The engine of tuning jobs, on functions whose least value is known."""

import dataclasses
import itertools
import math
import threading
import time

import numpy as np
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage

from algorithms import hyperparameters, registry
from local.tuning.checks import check, with_open_ends
from local.tuning.config import Definition, TuningConfig, TuningError, from_request
from local.tuning.early_stopping import below_median
from local.tuning.ranges import CategoricalRange, ContinuousRange, IntegerRange
from local.tuning.tuner import FAILED, OUT_OF_TIME, STOPPED, Ending, Observation, Status, Tuner

DONE = Ending(Status.COMPLETED)


def branin(x, y):
    """Least value 0.397887 (Branin 1972)."""
    bend = (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
    return bend + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(*x):
    """Least value -3.32237 (Dixon and Szegö 1978)."""
    return -float(np.array([1, 1.2, 3, 3.2]) @ np.exp(-(A * (np.array(x) - P) ** 2).sum(axis=1)))


def rate(x, momentum, optimizer):
    """As a learning rate is: its best is a power of ten away from most of a linear range."""
    return abs(math.log10(x) + 3) + 5 * abs(momentum - 0.9) + (optimizer == "sgd")


PROBLEMS = {
    "branin": (branin, [ContinuousRange("x", -5, 10), ContinuousRange("y", 0, 15)]),
    "hartmann": (hartmann, [ContinuousRange(f"x{number}", 0, 1) for number in range(6)]),
    "rate": (
        rate,
        [
            ContinuousRange("x", 1e-6, 1),
            ContinuousRange("m", 0, 0.999, "ReverseLogarithmic"),
            CategoricalRange("o", ("sgd", "adam")),
        ],
    ),
}


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def once(function):
    def run(trial):
        trial.report(function(*map(number, trial.tuned.values())))
        return DONE

    return run


def config(ranges, *, maximize=False, static=None, **options):
    definition = Definition(ranges=tuple(ranges), metric="loss", maximize=maximize, static=static or {})
    return TuningConfig(definitions=(definition,), **options)


def tuned(ranges, run, parents=(), storage=None, **options):
    tuner = Tuner(config(ranges, **options), run, parents=parents, storage=storage)
    tuner.why = tuner.tune()
    return tuner


def history(tuner):
    return [trial.tuned for trial in tuner.trials]


def test_bayesian_search_beats_random_search_at_the_same_budget():
    def best(strategy, problem, seed):
        function, ranges = PROBLEMS[problem]
        return tuned(ranges, once(function), strategy=strategy, seed=seed, max_jobs=30).best.objective

    for problem in PROBLEMS:
        ours, theirs = ([best(one, problem, seed) for seed in range(6)] for one in ("Bayesian", "Random"))
        assert np.mean(ours) < np.mean(theirs), problem


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Hyperband"])
def test_one_seed_gives_one_history_and_values_stay_within_their_ranges(strategy):
    function, ranges = PROBLEMS["rate"]
    first, again, other = (tuned(ranges, once(function), strategy=strategy, seed=s, max_jobs=12) for s in (4, 4, 5))
    assert history(first) == history(again) != history(other)
    for values in history(first):
        assert 1e-6 <= float(values["x"]) <= 1 and 0 <= float(values["m"]) <= 0.999 and values["o"] in ("sgd", "adam")


def test_scales_spread_values_as_sagemaker_describes_them():
    def share(one, low, high):
        values = [
            float(trial["v"]) for trial in history(tuned([one], once(lambda v: v), strategy="Random", max_jobs=200))
        ]
        return sum(low <= value <= high for value in values) / len(values)

    assert share(ContinuousRange("v", 1e-4, 1, "Logarithmic"), 1e-4, 1e-2) == pytest.approx(0.5, abs=0.12)
    assert share(ContinuousRange("v", 1e-4, 1, "Linear"), 1e-4, 1e-2) < 0.05
    assert share(ContinuousRange("v", 0, 0.9999, "ReverseLogarithmic"), 0.99, 1) == pytest.approx(0.5, abs=0.12)
    assert share(IntegerRange("v", 10**4, 10**8, "Logarithmic"), 1, 10**6) == pytest.approx(0.5, abs=0.12)


def test_grid_search_tries_each_combination_once():
    ranges = [CategoricalRange("a", ("1", "2", "3")), CategoricalRange("b", ("x", "y"))]
    tuner = tuned(ranges, once(lambda a, b: a + (b == "x")), strategy="Grid", parallel=2)
    expected = [{"a": a, "b": b} for a, b in itertools.product("123", "xy")]
    assert history(tuner) == expected
    assert tuner.best.tuned == {"a": "1", "b": "y"}


def test_integers_are_tried_once_each_where_there_are_few():
    tuner = tuned([IntegerRange("k", 3, 9)], once(lambda k: abs(k - 5)), max_jobs=7)
    assert sorted(values["k"] for values in history(tuner)) == list("3456789")


def test_the_static_hyperparameters_go_with_every_job_and_the_last_value_counts():
    seen = []

    def run(trial):
        seen.append(trial.hyperparameters)
        for value in (9.0, 7.0, 8.0):
            trial.report(value)
        return DONE

    tuner = tuned([IntegerRange("k", 1, 9)], run, static={"epochs": "3"}, max_jobs=2)
    assert all(values["epochs"] == "3" and set(values) == {"k", "epochs"} for values in seen)
    assert tuner.best.objective == 8.0


def curves(trial):
    """Jobs 0 to 3 end at 1, job 4 stays at 2, job 5 at 0.5; each has ten epochs."""
    level = {4: 2.0, 5: 0.5}.get(trial.number, 1.0)
    for epoch in range(10):
        trial.report(level + 1 / (epoch + 1))
        if trial.stopping.is_set():
            return Ending(Status.STOPPED)
    return DONE


def test_early_stopping_ends_what_is_worse_than_the_median_and_nothing_else():
    tuner = tuned([IntegerRange("k", 1, 99)], curves, early_stopping=True, max_jobs=6)
    assert [trial.status.value for trial in tuner.trials] == ["Completed"] * 4 + ["Stopped", "Completed"]
    assert tuner.trials[4].stopped_early and len(tuner.trials[4].curve) == 1
    assert tuner.best.number == 5


@pytest.mark.parametrize("maximize", [False, True])
def test_jobs_that_diverged_count_as_worse_than_all_others_in_early_stopping(maximize):
    """A NaN among the averages put the median anywhere, and values beyond float64's range were an error."""
    sign = -1.0 if maximize else 1.0
    earlier = [[math.nan, math.nan], [sign, sign], [2 * sign, 2 * sign], [3 * sign, 3 * sign], [4 * sign, 4 * sign]]
    earlier += [[1.7e308 * sign] * 2, [math.inf, -math.inf]]
    assert not below_median([sign, 3.5 * sign], earlier, maximize=maximize)
    assert below_median([sign, 4.5 * sign], earlier, maximize=maximize)


def test_hyperband_runs_few_jobs_to_the_end_and_the_best_among_them():
    epochs = []

    def run(trial):
        level = abs(float(trial.tuned["x"]) - 0.3)
        for epoch in range(1, 28):
            trial.report(level + 1 / epoch)
            if trial.stopping.is_set():
                break
        epochs.append(len(trial.curve))
        return Ending(Status.STOPPED) if trial.stopping.is_set() else DONE

    tuner = tuned([ContinuousRange("x", 0, 1)], run, strategy="Hyperband", resources=(1, 27), max_jobs=40, seed=1)
    assert sum(epochs) < 0.5 * 27 * 40
    assert tuner.best.objective < 0.03 + 1 / 27


def test_hyperband_ends_jobs_that_go_on_after_its_greatest_resource_and_takes_their_results():
    """Source: the API reference, ``HyperbandStrategyConfig``: "Once a job reaches the MaxResource value, it is
    stopped"."""

    def run(trial):
        for epoch in range(1, 100):
            trial.report(float(trial.tuned["x"]) + 1 / epoch)
            if trial.stopping.is_set():
                return Ending(Status.STOPPED)
        return DONE

    tuner = tuned([ContinuousRange("x", 0, 1)], run, strategy="Hyperband", resources=(1, 9), max_jobs=20, seed=1)
    assert {trial.status for trial in tuner.trials} == {Status.STOPPED}
    assert max(len(trial.curve) for trial in tuner.trials) == 10
    assert tuner.best.objective == min(trial.objective for trial in tuner.trials if trial.spent)
    assert len(tuner.best.curve) == 10 and not tuner.best.stopped_early


def test_a_tuning_job_is_over_by_each_of_its_criteria():
    def falling(trial):
        trial.report(10.0 - trial.number)
        return DONE

    ranges = [ContinuousRange("x", 0, 1)]
    assert len(tuned(ranges, falling, max_jobs=9, target=7.0).trials) == 4
    flat = tuned(ranges, once(lambda x: 1.0), max_jobs=50, most_without_gain=3)
    assert (len(flat.trials), flat.why) == (4, "the best objective has not improved by 1 % in 3 training jobs")
    little = tuned(ranges, once(lambda x: 1.0 - 1e-4 * x), max_jobs=50, most_without_gain=3)
    assert len(little.trials) == 4
    assert len(tuned(ranges, once(lambda x: 1.0), max_jobs=50, until_converged=True).trials) == 20
    assert len(tuned(ranges, falling, max_jobs=9).trials) == 9

    def slow(trial):
        return Ending(Status.STOPPED) if trial.stopping.wait(600) else DONE

    began = time.monotonic()
    timed = tuned(ranges, slow, parallel=2, max_jobs=9, max_seconds=0.3)
    assert (timed.why, len(timed.trials)) == (OUT_OF_TIME, 2) and time.monotonic() - began < 60


def test_failures_are_told_and_end_the_tuning_job_where_all_fail():
    fails = tuned([ContinuousRange("x", 0, 1)], lambda _: Ending(Status.FAILED, "no data"), max_jobs=50)
    assert (fails.why, len(fails.trials), fails.best) == (FAILED, 5, None)
    some = tuned(
        [ContinuousRange("x", 0, 1)],
        lambda trial: Ending(Status.FAILED, "x") if trial.number % 2 else once(lambda x: x)(trial),
        max_jobs=20,
    )
    assert len(some.trials) == 20 and some.best is not None
    silent = tuned([ContinuousRange("x", 0, 1)], lambda _: DONE, max_jobs=1)
    assert silent.best is None and "loss was never logged" in silent.trials[0].reason
    mute = tuned([ContinuousRange("x", 0, 1)], lambda _: DONE, max_jobs=9)
    assert len(mute.trials) == 5 and mute.why.startswith("No objective metrics found after running 5 training jobs.")
    nan = tuned([ContinuousRange("x", 0, 1)], once(lambda x: math.nan), max_jobs=2)
    assert nan.best is None


def test_jobs_run_side_by_side_and_stop_when_asked():
    together = threading.Barrier(3)

    def run(trial):
        together.wait(60)
        return Ending(Status.STOPPED) if trial.stopping.wait(60) else DONE

    tuner = Tuner(config([ContinuousRange("x", 0, 1)], parallel=3, max_jobs=9), run)
    threading.Timer(0.3, tuner.stop).start()
    assert tuner.tune() == STOPPED
    assert [trial.status for trial in tuner.trials] == [Status.STOPPED] * 3


def test_an_interrupted_tuning_job_goes_on_as_it_would_have_without(tmp_path):
    function, ranges = PROBLEMS["branin"]
    whole = tuned(ranges, once(function), max_jobs=14)

    def dies(trial):
        if trial.number == 8:
            raise KeyboardInterrupt
        return once(function)(trial)

    def storage():
        return JournalStorage(JournalFileBackend(str(tmp_path / "journal")))

    with pytest.raises(KeyboardInterrupt):
        tuned(ranges, dies, max_jobs=14, storage=storage())
    again = tuned(ranges, once(function), max_jobs=14, storage=storage())
    assert history(again) == history(whole)


def test_a_warm_start_uses_the_parents():
    ranges = [ContinuousRange("x", -5, 10), ContinuousRange("y", 0, 15)]
    parents = [Observation({"x": str(x), "y": str(y)}, branin(x, y)) for x in range(-4, 10) for y in range(15)]
    cold = tuned(ranges, once(branin), max_jobs=8)
    warm = tuned(ranges, once(branin), parents, max_jobs=8, warm_start="IdenticalDataAndAlgorithm")
    assert len(warm.trials) == 8
    assert np.mean([one.objective for one in warm.trials]) < 0.5 * np.mean([one.objective for one in cold.trials])
    best = min(parents, key=lambda one: one.result)
    other = tuned(ranges, once(branin), parents, max_jobs=8, warm_start="TransferLearning")
    assert {name: float(value) for name, value in other.trials[0].tuned.items()} == {
        name: float(value) for name, value in best.values.items()
    }
    narrow = [ContinuousRange("x", 100, 101), ContinuousRange("y", 0, 15)]
    assert len(tuned(narrow, once(branin), parents, max_jobs=3, warm_start="TransferLearning").trials) == 3


def request(**changes):
    job = {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "test:msd"},
            "ParameterRanges": {"IntegerParameterRanges": [{"Name": "epochs", "MinValue": "1", "MaxValue": "5"}]},
        },
        "TrainingJobDefinition": {"StaticHyperParameters": {"k": "3", "feature_dim": "2"}},
    }
    job["HyperParameterTuningJobConfig"] |= changes
    return job


def refusal(job):
    with pytest.raises(TuningError) as error:
        check(from_request(job), {"": registry.find("kmeans")}, tunable_only=True)
    return str(error.value)


def test_a_range_from_an_end_that_the_hyperparameter_does_not_take_is_tried_within_it():
    fields = hyperparameters.fields(registry.find("xgboost").hyperparameters)
    ranges = (ContinuousRange("colsample_bylevel", 0, 1), ContinuousRange("eta", 0, 1), IntegerRange("max_depth", 1, 3))
    given = Definition(ranges=ranges, static={}, metric="validation:auc", maximize=True)
    tried = with_open_ends(given, registry.find("xgboost")).ranges
    assert tried[1:] == ranges[1:]
    assert 0 < tried[0].low < 1e-3 and tried[0].high == 1
    assert fields["colsample_bylevel"].parse(tried[0].written(0)) > 0  # whatever a search rounds to
    assert not tried[0].distribution().log
    logarithmic = dataclasses.replace(given, ranges=(ContinuousRange("colsample_bylevel", 0, 1, "Logarithmic"),))
    assert with_open_ends(logarithmic, registry.find("xgboost")) == logarithmic
    assert "needs a range above 0" in logarithmic.ranges[0].problems()[0]


def test_words_in_quotation_marks_are_taken_as_training_takes_them():
    # AWS's Step Functions SDK sends the values of a CategoricalParameter as JSON strings
    words = [{"Name": "init_method", "Values": ['"kmeans++"', '"random"']}]
    job = request(
        ParameterRanges={"CategoricalParameterRanges": words},
        ResourceLimits={"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 1},
    )
    job["TrainingJobDefinition"]["StaticHyperParameters"] |= {"k": '"3"'}
    check(from_request(job), {"": registry.find("kmeans")}, tunable_only=True)
    words[0]["Values"].append('"best"')
    assert "The value '\"best\"' of the range" in refusal(job)


def test_requests_that_cannot_be_are_refused_with_the_reason():
    def ranges(kind, **one):
        return {"ParameterRanges": {f"{kind}ParameterRanges": [one]}}

    def objective(name, kind="Minimize"):
        return {"HyperParameterTuningJobObjective": {"MetricName": name, "Type": kind}}

    assert "[test:accuracy], isn't valid for the [kmeans] algorithm" in refusal(request(**objective("test:accuracy")))
    assert "must be Minimize" in refusal(request(**objective("test:msd", "Maximize")))
    assert "'k' is both a static" in refusal(request(**ranges("Integer", Name="k", MinValue="2", MaxValue="9")))
    assert "[half_life_time_size] isn't tunable" in refusal(
        request(**ranges("Integer", Name="half_life_time_size", MinValue="2", MaxValue="9"))
    )
    assert "MinValue '0' of the range of hyperparameter [epochs] isn't valid" in refusal(
        request(**ranges("Integer", Name="epochs", MinValue="0", MaxValue="9"))
    )
    backwards = request(**ranges("Integer", Name="epochs", MinValue="9", MaxValue="2"))
    assert refusal(backwards) == "'epochs': MinValue 9 is larger than MaxValue 2"
    assert "'many' is not a number" in refusal(
        request(**ranges("Integer", Name="epochs", MinValue="many", MaxValue="2"))
    )
    assert "'2.5' of an integer range" in refusal(
        request(**ranges("Integer", Name="epochs", MinValue="2.5", MaxValue="3"))
    )
    assert "You don't have enough combinations of hyperparameter ranges" in refusal(
        request(**ranges("Integer", Name="epochs", MinValue="1", MaxValue="3"))
    )
    assert "The value 'best' of the range of hyperparameter [init_method]" in refusal(
        request(**ranges("Categorical", Name="init_method", Values=["random", "best", "kmeans++", "other"]))
    )
    assert "it has no continuous range" in refusal(
        request(**ranges("Continuous", Name="epochs", MinValue="1", MaxValue="3"))
    )
    assert "categorical ranges only" in refusal(request(Strategy="Grid", ResourceLimits={"MaxParallelTrainingJobs": 1}))
    assert "must be Off for the Hyperband" in refusal(
        request(Strategy="Hyperband", TrainingJobEarlyStoppingType="Auto")
    )
    assert "A metric is required" in refusal(request(HyperParameterTuningJobObjective=None))
