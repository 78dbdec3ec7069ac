"""The operations on tuning jobs, above training jobs that only pretend; botocore's own model judges the answers."""

import queue
import threading
import time

import pytest

from algorithms import hyperparameters, registry
from local.tuning import checks
from local.tuning.config import Definition, TuningError
from local.tuning.request import run
from local.tuning.service import InUseError, NotFoundError, TuningJobs

PREFIX = "arn:aws:sagemaker:us-east-1:123456789012"
FINAL = "FinalHyperParameterTuningJobObjectiveMetric"


class Pretended:
    """Training jobs whose objective is (epochs - 3) squared + 1; or as ``behave`` says."""

    def __init__(self, behave=None):
        self.requests, self.stopped, self.behave = {}, {}, behave or self.square

    def create(self, request, tuning_job_arn):
        if request["HyperParameters"].get("mini_batch_size") == "refused":
            raise ValueError("refused")
        assert tuning_job_arn.startswith(f"{PREFIX}:hyper-parameter-tuning-job/")
        self.requests[request["TrainingJobName"]] = request
        self.stopped[request["TrainingJobName"]] = threading.Event()

    def follow(self, name, line):
        return self.behave(self.requests[name], line, self.stopped[name])

    def stop(self, name):
        self.stopped[name].set()

    @staticmethod
    def square(request, line, stopped):
        epochs = int(request["HyperParameters"]["epochs"])
        line(f"#quality_metric: host=algo-1, test msd <loss>={(epochs - 3) ** 2 + 1}\n")
        return "Completed", ""


def definition(low="1", high="8", **more):
    return {
        "AlgorithmSpecification": {
            "TrainingImage": "1234.dkr.ecr.us-east-1.amazonaws.com/kmeans:1",
            "TrainingInputMode": "File",
        },
        "RoleArn": "arn:aws:iam::123456789012:role/any",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "StaticHyperParameters": {"k": "3", "feature_dim": "2"},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints/"},
        **more,
    }


OBJECTIVE = {"Type": "Minimize", "MetricName": "test:msd"}


def ranges(low="1", high="8"):
    return {"IntegerParameterRanges": [{"Name": "epochs", "MinValue": low, "MaxValue": high}]}


def request(name="tune", jobs=6, parallel=1, **more):
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
            "HyperParameterTuningJobObjective": OBJECTIVE,
            "ParameterRanges": ranges(),
        },
        "TrainingJobDefinition": definition(),
        **more,
    }


def algorithm_of(image):
    name = image.rpartition("/")[2].partition(":")[0]
    return registry.find(name) if name in registry.ALGORITHMS else None


def service(folder, behave=None):
    training = Pretended(behave)
    return TuningJobs(folder, training, algorithm_of, PREFIX), training


def described(jobs, name="tune"):
    return jobs.describe({"HyperParameterTuningJobName": name})


def listed(jobs, **more):
    return jobs.list_training_jobs({"HyperParameterTuningJobName": "tune", **more})["TrainingJobSummaries"]


def test_a_tuning_job_from_its_creation_to_its_best_training_job(tmp_path):
    jobs, training = service(tmp_path)
    arn = jobs.create(request(parallel=2))["HyperParameterTuningJobArn"]
    assert arn == f"{PREFIX}:hyper-parameter-tuning-job/tune"
    jobs.find("tune").join(60)
    answer = described(jobs)
    assert answer["HyperParameterTuningJobStatus"] == "Completed"
    assert answer["TrainingJobStatusCounters"]["Completed"] == answer["ObjectiveStatusCounters"]["Succeeded"] == 6
    best = answer["BestTrainingJob"]
    assert best[FINAL]["Value"] == min(one[FINAL]["Value"] for one in listed(jobs))
    made = training.requests[best["TrainingJobName"]]
    assert made["HyperParameters"] == {
        "k": "3",
        "feature_dim": "2",
        "epochs": best["TunedHyperParameters"]["epochs"],
        "_tuning_objective_metric": "test:msd",
    }
    assert made["CheckpointConfig"]["S3Uri"] == f"s3://bucket/checkpoints/{best['TrainingJobName']}"
    assert best["TrainingJobName"].startswith("tune-0") and "StaticHyperParameters" not in made
    values = [one[FINAL]["Value"] for one in listed(jobs, SortBy="FinalObjectiveMetricValue", SortOrder="Descending")]
    assert values == sorted(values, reverse=True)
    first = jobs.list_training_jobs({"HyperParameterTuningJobName": "tune", "MaxResults": 4})
    rest = jobs.list_training_jobs({"HyperParameterTuningJobName": "tune", "NextToken": first["NextToken"]})
    assert (len(first["TrainingJobSummaries"]), len(rest["TrainingJobSummaries"])) == (4, 2)
    assert "NextToken" not in rest
    assert [one["HyperParameterTuningJobName"] for one in jobs.list_jobs({"StatusEquals": "Completed"})[SUMMARIES]] == [
        "tune"
    ]
    assert (
        jobs.list_jobs({"NameContains": "other"})[SUMMARIES]
        == jobs.list_jobs({"StatusEquals": "Failed"})[SUMMARIES]
        == []
    )


SUMMARIES = "HyperParameterTuningJobSummaries"


def test_botocores_model_accepts_request_and_answers(tmp_path):
    session = pytest.importorskip("botocore.session")
    from botocore.validate import ParamValidator

    model = session.get_session().get_service_model("sagemaker")
    jobs, _ = service(tmp_path)
    jobs.create(request())
    jobs.find("tune").join(60)
    shapes = [(model.operation_model("CreateHyperParameterTuningJob").input_shape, request())]
    for operation, answer in (
        ("DescribeHyperParameterTuningJob", described(jobs)),
        ("ListHyperParameterTuningJobs", jobs.list_jobs({})),
        ("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": listed(jobs)}),
    ):
        shapes.append((model.operation_model(operation).output_shape, answer))
    for shape, value in shapes:
        report = ParamValidator().validate(value, shape)
        assert not report.has_errors(), report.generate_report()
        assert set(value) <= set(shape.members)


def test_a_stop_ends_the_training_jobs_that_run(tmp_path):
    started = queue.Queue()

    def wait(_, line, stopped):
        line("#quality_metric: host=algo-1, test msd <loss>=5.0\n")
        started.put(1)
        return ("Stopped", "") if stopped.wait(60) else ("Completed", "")

    jobs, _ = service(tmp_path, wait)
    jobs.create(request(parallel=2))
    started.get(timeout=60), started.get(timeout=60)
    assert described(jobs)["TrainingJobStatusCounters"]["InProgress"] == 2
    jobs.stop({"HyperParameterTuningJobName": "tune"})
    jobs.find("tune").join(60)
    answer = described(jobs)
    assert answer["HyperParameterTuningJobStatus"] == "Stopped"
    assert answer["TrainingJobStatusCounters"]["Stopped"] == 2


def test_failures_have_sagemakers_words(tmp_path):
    jobs, _ = service(tmp_path, lambda *_: ("Failed", "AlgorithmError: no data"))
    jobs.create(request())
    jobs.find("tune").join(60)
    answer = described(jobs)
    assert answer["HyperParameterTuningJobStatus"] == "Failed"
    assert answer["FailureReason"].startswith("All training jobs failed. Please take a look at the training jobs")
    assert listed(jobs)[0]["FailureReason"] == "AlgorithmError: no data"
    with pytest.raises(InUseError, match="already exists"):
        jobs.create(request())
    with pytest.raises(NotFoundError, match="can't find a tuning job with the name other"):
        described(jobs, "other")
    with pytest.raises(TuningError, match="failed to satisfy constraint: Member must satisfy regular expression"):
        jobs.create(request("../up"))
    jobs.delete({"HyperParameterTuningJobName": "tune"})
    assert jobs.list_jobs({})[SUMMARIES] == [] and not (tmp_path / "tune").exists()


def test_another_server_knows_the_jobs_and_goes_on_with_what_was_cut_off(tmp_path):
    def slow(made, line, stopped):
        if len(training.requests) > 3:
            return ("Stopped", "") if stopped.wait(60) else ("Completed", "")
        return Pretended.square(made, line, stopped)

    jobs, training = service(tmp_path, slow)
    jobs.create(request())
    deadline = time.monotonic() + 60
    while len(training.requests) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    jobs.close()
    jobs.find("tune").join(60)
    again, more = service(tmp_path)
    assert described(again)["HyperParameterTuningJobStatus"] == "InProgress"
    again.resume()
    again.find("tune").join(60)
    assert described(again)["TrainingJobStatusCounters"]["Completed"] == 6 and len(more.requests) == 3
    whole, _ = service(tmp_path / "other")
    whole.create(request())
    whole.find("tune").join(60)
    assert [one["TunedHyperParameters"] for one in listed(again)] == [
        one["TunedHyperParameters"] for one in listed(whole)
    ]


def test_warm_starts(tmp_path):
    jobs, _ = service(tmp_path)
    jobs.create(request("parent", jobs=8))
    parents = {"ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}]}
    jobs.find("parent").join(60)
    warm = {"WarmStartConfig": parents | {"WarmStartType": "IdenticalDataAndAlgorithm"}}
    child = request("child", jobs=2, **warm)
    child["HyperParameterTuningJobConfig"]["ParameterRanges"] = ranges("5", "8")
    jobs.create(child)
    jobs.find("child").join(60)
    answer = described(jobs, "child")
    assert answer["BestTrainingJob"][FINAL]["Value"] >= 5
    assert answer["OverallBestTrainingJob"][FINAL]["Value"] == 1
    assert answer["OverallBestTrainingJob"]["TuningJobName"] == "parent"
    transfer = {"WarmStartConfig": parents | {"WarmStartType": "TransferLearning"}}
    jobs.create(request("third", jobs=1, **transfer))
    jobs.find("third").join(60)
    assert described(jobs, "third")["BestTrainingJob"]["TunedHyperParameters"] == {"epochs": "3"}
    unknown = {"ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "nobody"}]}
    with pytest.raises(NotFoundError):
        jobs.create(request("fourth", WarmStartConfig=unknown | {"WarmStartType": "TransferLearning"}))


def test_a_page_has_ten_jobs_and_jobs_without_an_objective_are_not_sorted_by_it(tmp_path):
    """Source: the API reference, ``ListTrainingJobsForHyperParameterTuningJob``."""

    def some(made, line, stopped):
        return Pretended.square(made, line if int(made["HyperParameters"]["epochs"]) % 2 else lambda _: None, stopped)

    jobs, _ = service(tmp_path, some)
    made = request(jobs=12)
    made["HyperParameterTuningJobConfig"]["ParameterRanges"] = ranges("1", "12")
    jobs.create(made)
    jobs.find("tune").join(60)
    named = {"HyperParameterTuningJobName": "tune"}
    assert len(jobs.list_training_jobs(named)["TrainingJobSummaries"]) == 10
    assert jobs.list_training_jobs(named)["NextToken"]
    scored = jobs.list_training_jobs(named | {"SortBy": "FinalObjectiveMetricValue"})["TrainingJobSummaries"]
    assert len(scored) == 6 and all(FINAL in one for one in scored)


def test_a_job_that_hyperband_ended_at_its_greatest_resource_may_be_the_best(tmp_path):
    def long(made, line, stopped):
        for epoch in range(1, 50):
            line(
                f"#quality_metric: host=algo-1, test msd <loss>={int(made['HyperParameters']['epochs']) + 1 / epoch}\n"
            )
            if stopped.wait(0.15):
                return "Stopped", ""
        return "Completed", ""

    jobs, _ = service(tmp_path, long)
    made = request(jobs=2)
    made["HyperParameterTuningJobConfig"] |= {
        "Strategy": "Hyperband",
        "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 2, "MaxResource": 2}},
    }
    jobs.create(made)
    jobs.find("tune").join(60)
    best = described(jobs)["BestTrainingJob"]
    assert best["TrainingJobStatus"] == "Stopped"
    assert best[FINAL]["Value"] == min(one[FINAL]["Value"] for one in listed(jobs))
    again, _ = service(tmp_path)
    assert described(again)["BestTrainingJob"]["TrainingJobName"] == best["TrainingJobName"]


def warm(kind="IdenticalDataAndAlgorithm"):
    parents = [{"HyperParameterTuningJobName": "parent"}]
    return {"WarmStartConfig": {"ParentHyperParameterTuningJobs": parents, "WarmStartType": kind}}


def test_a_warm_start_learns_of_what_was_static_in_the_parent(tmp_path):
    """The guide allows it; none of the parent's results was learned from."""
    jobs, training = service(tmp_path)
    jobs.create(request("parent", jobs=8))
    jobs.find("parent").join(60)
    child = request("child", jobs=1, **warm("TransferLearning"))
    static = {"feature_dim": "2", "_tuning_objective_metric": "test:msd"}  # the SDK has it from Describe
    child["TrainingJobDefinition"]["StaticHyperParameters"] = static
    child["HyperParameterTuningJobConfig"]["ParameterRanges"]["IntegerParameterRanges"].append(
        {"Name": "k", "MinValue": "2", "MaxValue": "9"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_declared_problems", lambda *_, **__: [])  # k-means' k is not tuned on SageMaker
        jobs.create(child)
    jobs.find("child").join(60)
    assert described(jobs, "child")["BestTrainingJob"]["TunedHyperParameters"] == {"epochs": "3", "k": "3"}


@pytest.mark.parametrize("kind", ["IdenticalDataAndAlgorithm", "TransferLearning"])
def test_a_warm_start_from_results_of_another_kind_is_refused(tmp_path, kind):
    """Source: Amazon SageMaker Developer Guide, "Warm Start Tuning Restrictions"."""
    jobs, _ = service(tmp_path)
    jobs.create(request("parent", jobs=1))
    jobs.find("parent").join(60)
    child = request("child", jobs=1, **warm(kind))
    child["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] = OBJECTIVE | {"MetricName": "test:ssd"}
    child["HyperParameterTuningJobConfig"]["ParameterRanges"] = {
        "CategoricalParameterRanges": [{"Name": "epochs", "Values": ["1", "2"]}]
    }
    child["TrainingJobDefinition"]["StaticHyperParameters"]["init_method"] = "random"
    with pytest.raises(TuningError) as refused:
        jobs.create(child)
    assert "the objective metric [test:ssd] (Minimize) must be that of the parent, [test:msd] (Minimize)" in str(
        refused.value
    )
    assert "the type of the range of hyperparameter [epochs] must be that of the parent" in str(refused.value)
    assert "must be as many as those of the parent, 3, not 4" in str(refused.value)


def test_several_algorithms_in_one_tuning_job(tmp_path):
    def both(made, line, _):
        theirs = made["AlgorithmSpecification"]["TrainingImage"] == "somebody/other:1"
        line(f"score={1.0 if theirs else 2.0};\n#quality_metric: host=a, test msd <loss>=2.0\n")
        return "Completed", ""

    other = {
        "TrainingImage": "somebody/other:1",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "score", "Regex": "score=([0-9.]+);"}],
    }
    made = request(jobs=10)
    del made["TrainingJobDefinition"], made["HyperParameterTuningJobConfig"]["ParameterRanges"]
    del made["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    made["TrainingJobDefinitions"] = [
        definition(DefinitionName="ours", HyperParameterRanges=ranges(), TuningObjective=OBJECTIVE),
        definition(
            DefinitionName="theirs",
            AlgorithmSpecification=other,
            HyperParameterRanges={"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]},
            TuningObjective={"Type": "Minimize", "MetricName": "score"},
        ),
    ]
    jobs, _ = service(tmp_path, both)
    jobs.create(made)
    jobs.find("tune").join(60)
    answer = described(jobs)
    assert answer["BestTrainingJob"]["TrainingJobDefinitionName"] == "theirs"
    assert {one["TrainingJobDefinitionName"] for one in listed(jobs)} == {"ours", "theirs"}
    for one in listed(jobs):
        names = {"ours": {"epochs"}, "theirs": {"x"}}[one["TrainingJobDefinitionName"]]
        assert set(one["TunedHyperParameters"]) == names


def test_automatic_ranges_are_those_of_the_declaration(tmp_path):
    jobs, _ = service(tmp_path)
    made = request()
    made["HyperParameterTuningJobConfig"]["ParameterRanges"] = {
        "AutoParameters": [{"Name": "epochs", "ValueHint": "2"}, {"Name": "init_method", "ValueHint": "random"}]
    }
    jobs.create(made)
    jobs.find("tune").join(60)
    assert all(1 <= int(one["TunedHyperParameters"]["epochs"]) <= 10 for one in listed(jobs))
    assert {one["TunedHyperParameters"]["init_method"] for one in listed(jobs)} <= {"random", "kmeans++"}
    first = min(listed(jobs), key=lambda one: one["CreationTime"])
    assert first["TunedHyperParameters"] == {"epochs": "2", "init_method": "random"}  # the hints
    for name, told in (("x", r"\[x\] isn't one that \[kmeans\] tunes"), ("k", "At least one hyperparameter range")):
        hints = [{"Name": name, "ValueHint": "2"}]
        made["HyperParameterTuningJobConfig"]["ParameterRanges"] = {"AutoParameters": hints}
        with pytest.raises(TuningError, match=told):
            jobs.create(made | {"HyperParameterTuningJobName": "second"})


@pytest.mark.parametrize("name", [name for name in registry.ALGORITHMS if name != "pca"])  # of which nothing is tuned
def test_autotune_finds_ranges_for_all_that_an_algorithm_tunes_and_begins_with_its_defaults(name):
    algorithm = registry.find(name)
    defaults = checks.tuned_by_default(algorithm)
    given = Definition(ranges=(), metric="", maximize=True, hints=defaults)
    made = checks.with_open_ends(checks.with_automatic_ranges(given, algorithm), algorithm)
    assert {one.name for one in made.ranges} == set(defaults)
    assert all(not one.problems() for one in made.ranges)
    assert not [
        problem
        for one in made.ranges
        for problem in checks._range_problems(one, hyperparameters.fields(algorithm.hyperparameters)[one.name])
    ]
    assert made.start == defaults


def test_of_automatic_ranges_those_of_hyperparameters_that_are_not_tuned_are_values(tmp_path):
    jobs, ran = service(tmp_path)
    made = request()
    hints = [{"Name": "epochs", "ValueHint": "2"}, {"Name": "half_life_time_size", "ValueHint": "7"}]
    made["HyperParameterTuningJobConfig"]["ParameterRanges"] = {"AutoParameters": hints}
    jobs.create(made)
    jobs.find("tune").join(60)
    assert {tuple(one["TunedHyperParameters"]) for one in listed(jobs)} == {("epochs",)}
    assert {one["HyperParameters"]["half_life_time_size"] for one in ran.requests.values()} == {"7"}


def test_a_request_is_run_to_its_end_without_a_server(tmp_path):
    lines = []
    assert run(request(), tmp_path, Pretended(), algorithm_of, PREFIX, lines.append) == 0
    assert len(lines) == 8 and lines[-2] == "tune: Completed" and lines[-1].endswith("test:msd 1")
    failing = Pretended(lambda *_: ("Failed", "no data"))
    assert run(request("other"), tmp_path, failing, algorithm_of, PREFIX, lines.append) == 1
    assert lines[-1].startswith("other: Failed: All training jobs failed.")
