"""AWS's notebooks on the built-in algorithms, replayed in our words by the SDK 2 and boto3 against `oba up`."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from tests.interop.environments import SDK2, python_of

pytest.importorskip("moto")
pytest.importorskip("keras")

from algorithms.seq2seq import texts as seq2seq_texts
from examples.data import png, write_images
from tests.local.sagemaker.client import running

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).resolve().parent / "up_notebooks_program.py"
ROWS = load_digits().data[:600] / 16
LABELS = load_digits().target[:600]
ASKED = 60


@pytest.fixture(scope="module")
def came(tmp_path_factory):
    """What came of each notebook."""
    folder = tmp_path_factory.mktemp("notebooks")
    np.save(folder / "rows.npy", ROWS)
    np.save(folder / "labels.npy", LABELS.astype(np.float32))
    binary = LABELS < 2
    files = [png(row.reshape(8, 8)) for row in ROWS[binary][:60] * 16]
    write_images(folder / "digits.rec", files, LABELS[binary][:60])
    (folder / "digit.png").write_bytes(files[0])
    cancer = load_breast_cancer()
    numbers = np.arange(len(cancer.data)) + 84000
    np.save(folder / "cancer.npy", np.column_stack([numbers, cancer.target == 0, cancer.data]))
    texts = [" ".join(np.random.default_rng(number).choice(list("abcd"), 4)) for number in range(200)]
    for side in ("source", "target"):
        (folder / side).write_text("\n".join(texts))
    pairs = {"share": 0.2, "size": 100, "least": 1, "lower": False}
    seq2seq_texts.make(folder / "source", folder / "target", folder / "pairs", validation=None, **pairs)
    python = python_of(*SDK2)
    with running(folder / "state") as up:
        own = {"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"}
        command = [python, PROGRAM, folder]
        # Notebooks write at the same time, and so within each other's letters.
        decoded = {"text": True, "errors": "replace"}
        done = subprocess.run(command, env={**up.environment, **own}, capture_output=True, timeout=500, **decoded)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads((folder / "notebooks.json").read_text())

    def of(name: str):
        assert "error" not in found[name], found[name]["error"]
        return found[name]["came"]

    return of


def test_pca_projects_as_the_singular_value_decomposition_does_and_a_transform_job_as_its_endpoint(came):
    found = came("pca")
    projections = np.array(found["projections"])
    np.testing.assert_allclose(found["transformed"], projections, atol=1e-4)
    pixels = ROWS.T - ROWS.T.mean(axis=0)
    _, values, directions = np.linalg.svd(pixels, full_matrices=False)
    expected = pixels @ directions[:5].T
    # SageMaker's columns stand from the smallest component to the largest, and a sign is free
    np.testing.assert_allclose(np.abs(projections[:, ::-1]), np.abs(expected), atol=2e-3 * values[0])


def test_factorization_machines_and_the_best_of_a_search_tell_zeros(came):
    zeros = (LABELS[:ASKED] == 0).astype(int)
    for predicted in (came("factorization_machines"), came("linear_learner")["labels"]):
        assert np.mean(np.array(predicted) == zeros) > 0.95
        assert sum(predicted) > 0
    assert came("linear_learner")["jobs"] == 2
    assert came("linear_learner")["attached"]


def test_lda_finds_the_mixtures_of_the_documents(came):
    mixtures, shares = (np.array(came("lda")[name]) for name in ("mixtures", "shares"))
    assert abs(np.corrcoef(mixtures[:, 0], shares[:, 0])[0, 1]) > 0.95


def test_ntm_tells_documents_of_two_topics_apart(came):
    weights = np.array(came("ntm"))
    assert len(set(weights[::2].argmax(axis=1))) == len(set(weights[1::2].argmax(axis=1))) == 1
    assert weights[0].argmax() != weights[1].argmax()


def test_a_regression_on_libsvm_text_is_better_than_the_mean(came):
    values, labels = np.array(came("xgboost_regression")), LABELS[-ASKED:]
    assert np.mean((values - labels) ** 2) < 0.6 * labels.var()


def test_kmeans_on_two_instances_finds_the_digits(came):
    clusters, labels = np.array(came("kmeans_low_level"), int), LABELS[:ASKED]
    assert sum(np.bincount(labels[clusters == one]).max() for one in set(clusters)) / ASKED > 0.7


def test_variants_are_asked_by_their_weights_and_counted(came):
    found = came("churn_and_variants")
    assert np.mean((np.array(found["scores"]) > 0.5) == (LABELS[:ASKED] == 0)) > 0.95
    both = Counter(found["both"])
    assert set(both) == {"Variant1", "Variant2"}  # all sixty to one of two equal weights: 2 in 2**60
    assert set(found["second"]) == {"Variant2"}
    assert found["counted"] == {"Variant1": both["Variant1"], "Variant2": both["Variant2"] + 10}


def test_images_are_classified_by_a_transform_job(came):
    found = came("image_classification")
    assert sum(found["prediction"]) == pytest.approx(1, abs=1e-4) and len(found["prediction"]) == 2
    assert {"train:accuracy", "validation:accuracy"} <= set(found["metrics"])


def test_a_translation_shows_what_it_looks_at(came):
    plain, shown = came("seq2seq")
    assert plain["target"] == shown["target"] and shown["target"]
    assert np.shape(shown["matrix"])[0] in (len(shown["target"].split()), len(shown["target"].split()) + 1)
    np.testing.assert_allclose(np.sum(shown["matrix"], axis=1), 1, atol=1e-3)


def test_the_class_of_kmeans_finds_the_digits(came):
    found = came("kmeans_high_level")
    clusters, labels = np.array(found["clusters"], int), LABELS[:ASKED]
    assert found["one"] == 1
    assert sum(np.bincount(labels[clusters == one]).max() for one in set(clusters)) / ASKED > 0.7


def test_a_search_without_scales_finds_what_ranks_zeros_first(came):
    found = came("direct_marketing")
    assert found["counts"]["Completed"] == 3
    assert found["tuned"] == ["alpha", "eta", "max_depth", "min_child_weight"]
    assert found["auc"] > 0.95


def test_a_transform_job_joins_its_input_and_keeps_the_first_and_the_last(came):
    found, cancer = came("breast_cancer"), load_breast_cancer()
    predicted = np.array(found["plain"])
    assert np.mean((predicted[:, -1] > 0.5) == (cancer.target[:ASKED] == 0)) > 0.9
    np.testing.assert_allclose(np.array(found["joined"])[:, 1:31], cancer.data[:ASKED], rtol=1e-6)
    np.testing.assert_allclose(np.array(found["joined"])[:, 31:], predicted, rtol=1e-6)
    expected = np.column_stack([84000 + np.arange(ASKED), predicted[:, -1]])
    np.testing.assert_allclose(found["ends"], expected, rtol=1e-6)


def test_each_of_many_models_answers_for_its_place(came):
    found, labels = came("home_values"), LABELS[:ASKED]
    for place, factor in found["factors"].items():
        assert np.corrcoef(found["values"][place], labels)[0, 1] > 0.9
        assert np.mean(found["values"][place]) == pytest.approx(factor * labels.mean(), rel=0.25)
