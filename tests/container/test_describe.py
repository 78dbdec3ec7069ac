import json

import pytest

from algorithms import registry
from container import describe
from tests.container.toy import Toy


def hyperparameter(name):
    specification = describe.training_specification(Toy, "registry/toy:1")
    return next(entry for entry in specification["SupportedHyperParameters"] if entry["Name"] == name)


def test_a_whole_number_with_a_range_is_an_integer():
    assert hyperparameter("epochs") == {
        "Name": "epochs",
        "Description": "Passes.",
        "Type": "Integer",
        "Range": {"IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "100"}},
        "IsTunable": True,
        "IsRequired": False,
        "DefaultValue": "1",
    }


def test_a_required_one_has_no_default_and_an_open_range_ends_at_32_bits():
    entry = hyperparameter("feature_dim")
    assert entry["IsRequired"]
    assert "DefaultValue" not in entry
    assert entry["Range"]["IntegerParameterRangeSpecification"] == {"MinValue": "1", "MaxValue": str(2**31 - 1)}


def test_open_ends_become_the_next_float():
    limits = hyperparameter("rate")["Range"]["ContinuousParameterRangeSpecification"]
    assert 0 < float(limits["MinValue"]) < 1e-300
    assert 1 - 1e-15 < float(limits["MaxValue"]) < 1


def test_a_number_or_auto_is_free_text_unless_it_is_tuned():
    assert (hyperparameter("factor")["Type"], hyperparameter("factor")["DefaultValue"]) == ("FreeText", "auto")
    assert hyperparameter("tuned_factor")["Type"] == "Integer"
    assert "DefaultValue" not in hyperparameter("tuned_factor")


def test_words_are_categories_and_lists_free_text():
    values = {"CategoricalParameterRangeSpecification": {"Values": ["plain", "fancy"]}}
    assert hyperparameter("method")["Range"] == values
    assert hyperparameter("centre")["DefaultValue"] == "true"
    assert (hyperparameter("scores")["Type"], hyperparameter("scores")["DefaultValue"]) == ("FreeText", '["msd"]')


def test_the_rest_of_the_specification():
    specification = describe.training_specification(Toy, "registry/toy:1")
    assert specification["TrainingImage"] == "registry/toy:1"
    assert specification["MetricDefinitions"][0]["Name"] == "test:msd"
    assert specification["SupportedTuningJobObjectiveMetrics"] == [{"MetricName": "test:msd", "Type": "Minimize"}]
    assert [channel["Name"] for channel in specification["TrainingChannels"]] == ["train", "test"]
    assert specification["TrainingChannels"][1]["SupportedInputModes"] == ["File", "Pipe"]
    json.dumps(specification)


def test_help_names_every_hyperparameter_with_what_it_takes():
    text = describe.help_text(Toy)
    assert "  epochs\n      an integer from 1 to 100; default 1\n      Passes." in text
    assert "  feature_dim\n      an integer of at least 1; required" in text
    assert "  POST /v2/models/toy/infer\n      the open inference protocol" in text
    assert "  train\n      required; application/x-recordio-protobuf, text/csv" in text


def test_tables_are_markdown_whose_cells_hold_no_bars():
    text = describe.tables(Toy)
    assert "| `epochs` | an integer from 1 to 100 | `1` | Passes. |" in text
    assert r"A rate \| with a bar." in text
    assert "| `feature_dim` | an integer of at least 1 | required | Number of features. |" in text


@pytest.mark.parametrize(("name", "hosts"), [("kmeans", True), ("linear-learner", True), ("seq2seq", True)])
def test_whether_several_hosts_can_train(name, hosts):
    found = describe.training_specification(registry.find(name), "registry/image:1")
    assert found["SupportsDistributedTraining"] is hosts
