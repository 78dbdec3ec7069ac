"""What columns are called: in the page about the job, in exports, and for requests in another order."""

import json
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import algorithms
from algorithms import estimators
from algorithms.archives import pack
from algorithms.errors import PredictionError
from local.names import of_features
from tests.local.toy import logging_kept, oba

RANDOM = np.random.default_rng(11)
NAMES = ["age", "income, EUR", "größe", "n_children"]
FRAME = pd.DataFrame(RANDOM.normal(size=(90, 4)).round(3), columns=NAMES)
FRAME.insert(2, "y", (FRAME["age"] - 2 * FRAME["größe"] > 0).astype(int))
JOBS = {
    "linear-learner": ["predictor_type=binary_classifier", "epochs=2"],
    "xgboost": ["objective=binary:logistic", "num_round=3", "nthread=1"],
    "factorization-machines": ["predictor_type=binary_classifier", "num_factors=2", "epochs=2", "mini_batch_size=20"],
    "kmeans": ["k=3"],
    "pca": ["num_components=2", "mini_batch_size=20"],
}


def write(frame, file):
    if file.suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)
    return file


def train(name, file, output, *words):
    return oba("train", name, *JOBS[name], "--train", file, *words, "--output", output, "--quiet")


def told(output):
    return json.loads((output / "output" / "data" / "report.json").read_text(encoding="utf-8"))


def words_of(report):
    """All texts of the figures that are not their kind, title or note."""
    figures = [{name: one for name, one in figure.items() if name != "note"} for figure in report["figures"]]
    return json.dumps(figures, ensure_ascii=False)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", JOBS)
def test_the_report_says_names_where_it_would_say_numbers(name, suffix, tmp_path):
    file, output = write(FRAME, tmp_path / f"rows{suffix}"), tmp_path / "out"
    assert train(name, file, output, "--label", "y") == 0
    report = told(output)
    assert report["features"] == NAMES
    assert not re.search(r'feature \d|"f\d', words_of(report))
    for called in ("age", "größe") if name == "xgboost" else NAMES:
        assert called in words_of(report)
    assert of_features(output / "model", output / "model") == NAMES
    assert NAMES[2] in (output / "output" / "data" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("blank", ["\n", " \n\n", ",,,,\r\n"])
def test_names_below_blank_lines_are_names(blank, tmp_path, capsys):
    file, output = tmp_path / "rows.csv", tmp_path / "out"
    file.write_text(blank + FRAME.to_csv(index=False))
    assert train("linear-learner", file, output, "--label", "y") == 0
    assert told(output)["features"] == NAMES
    assert oba("predict", "--model", output, "--input", file) == 1
    assert "add --header" in capsys.readouterr().err


def test_without_names_there_are_numbers(tmp_path):
    FRAME.drop(columns="y").to_csv(tmp_path / "rows.csv", index=False, header=False)
    assert train("kmeans", tmp_path / "rows.csv", tmp_path / "out") == 0
    assert "features" not in told(tmp_path / "out")
    assert of_features(tmp_path / "out" / "model", tmp_path / "out" / "model") is None


def test_the_label_and_the_weights_are_no_features(tmp_path):
    weighted = FRAME[["y", "age", *NAMES[1:]]].rename(columns={"age": "weight"})
    weighted["weight"] = 1.0
    file = write(weighted, tmp_path / "rows.csv")
    assert train("xgboost", file, tmp_path / "out", "csv_weights=1", "--header") == 0
    assert told(tmp_path / "out")["features"] == NAMES[1:]


def test_topics_are_of_words(tmp_path):
    counts = pd.DataFrame(RANDOM.poisson(2, size=(60, 5)), columns=["cat", "dog", "stock", "bond", "the"])
    file, output = write(counts, tmp_path / "counts.csv"), tmp_path / "out"
    words = ["num_topics=2", "mini_batch_size=60", "--train", file, "--header", "--output", output, "--quiet"]
    assert oba("train", "lda", *words) == 0
    (cards,) = (figure["cards"] for figure in told(output)["figures"] if figure["kind"] == "cards")
    assert {word for card in cards for word, _ in card["words"]} == set(counts.columns)
    assert not re.search(r"words: \d", " ".join(text for card in cards for text in card["examples"]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_requests_take_the_order_of_training(suffix, tmp_path, capsys):
    output = tmp_path / "out"
    assert train("linear-learner", write(FRAME, tmp_path / f"rows{suffix}"), output, "--label", "y") == 0
    answers = []
    for number, columns in enumerate((NAMES, NAMES[::-1])):
        file = write(FRAME[[*columns, "y"]], tmp_path / f"{number}{suffix}")
        capsys.readouterr()
        assert oba("predict", "--model", output, "--input", file, "--label", "y") == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    renamed = write(FRAME[NAMES].rename(columns={"age": "Alter"}), tmp_path / f"other{suffix}")
    header = ["--header"] if suffix == ".csv" else []
    assert oba("predict", "--model", output, "--input", renamed, *header) == 1
    error = capsys.readouterr().err
    assert "'age'" in error
    assert "that the model was trained on" in error
    assert oba("predict", "--model", output, "--input", write(FRAME, tmp_path / f"all{suffix}"), *header) == 1
    assert "--label y leaves it out" in capsys.readouterr().err


def ask(output, frame, file, *words):
    """The exit code of a prediction of rows in a file."""
    return oba("predict", "--model", output, "--input", write(frame, file), *words)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_label_by_its_place_is_that_in_the_file(suffix, tmp_path, capsys):
    output, header = tmp_path / "out", ["--header"] if suffix == ".csv" else []
    assert train("xgboost", write(FRAME, tmp_path / f"rows{suffix}"), output, "--label", "y") == 0
    answers = []
    for columns, place in (
        (NAMES, []),
        (["y", *NAMES[::-1]], ["--label", "0"]),
        ([*NAMES[::-1], "y"], ["--label", "-1"]),
    ):
        capsys.readouterr()
        assert ask(output, FRAME[columns], tmp_path / f"asked{suffix}", *header, *place) == 0
        answers.append(capsys.readouterr().out)
    assert answers[1:] == answers[:1] * 2
    assert ask(output, FRAME[NAMES[::-1]], tmp_path / f"asked{suffix}", *header, "--label", "0") == 1  # a feature
    assert ask(output, FRAME, tmp_path / f"asked{suffix}", *header, "--label", "0") == 1
    assert "label y leaves it out" in capsys.readouterr().err or suffix == ".parquet"


def test_a_request_may_say_by_its_type_that_the_label_is_first(tmp_path, capsys):
    output, asked = tmp_path / "out", tmp_path / "asked.csv"
    assert train("linear-learner", write(FRAME, tmp_path / "rows.csv"), output, "--label", "y") == 0
    assert ask(output, FRAME[NAMES], asked, "--header") == 0
    answer = capsys.readouterr().out
    for columns in (["y", *NAMES], ["y", *NAMES[::-1]]):
        assert ask(output, FRAME[columns], asked, "--header", "--content-type", "text/csv;label_size=1") == 0
        assert capsys.readouterr().out == answer


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_row_of_missing_values_is_answered(suffix, tmp_path, capsys):
    output, asked = tmp_path / "out", FRAME[:3].copy()
    assert train("xgboost", write(FRAME, tmp_path / f"rows{suffix}"), output, "--label", "y") == 0
    asked.iloc[1] = np.nan
    capsys.readouterr()
    assert ask(output, asked, tmp_path / f"asked{suffix}", "--label", "y") == 0
    assert capsys.readouterr().out.count("\n") == 3
    if suffix == ".csv":
        asked[NAMES].to_csv(tmp_path / "bare.csv", index=False, header=False)
        assert oba("predict", "--model", output, "--input", tmp_path / "bare.csv") == 0
        bare = capsys.readouterr().out
        assert ask(output, asked[NAMES], tmp_path / "asked.csv", "--header") == 0
        assert capsys.readouterr().out == bare


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_label_has_one_name_in_all_channels(suffix, tmp_path):
    header, scores = ["--header"] if suffix == ".csv" else [], []
    first = write(FRAME[["y", *NAMES]], tmp_path / f"train{suffix}")
    for columns in (["y", *NAMES], ["age", "y", *NAMES[:0:-1]]):
        other = write(FRAME[columns], tmp_path / f"validation{suffix}")
        assert train("xgboost", first, tmp_path / "out", "--validation", other, *header) == 0
        scores.append(told(tmp_path / "out")["scores"])
    assert scores[0] == scores[1]
    assert scores[0]["validation:logloss"] == scores[0]["train:logloss"]


@pytest.mark.parametrize("words", [["--header"], ["--header", "--label", "0"], ["--label", "y"]])
@pytest.mark.parametrize(("first", "second"), [(".csv", ".parquet"), (".parquet", ".csv")])
def test_columns_are_put_in_order_across_formats(first, second, words, tmp_path, capsys):
    file = write(FRAME[["y", *NAMES]], tmp_path / f"train{first}")
    other = write(FRAME[["age", "y", *NAMES[:0:-1]]], tmp_path / f"validation{second}")
    assert train("xgboost", file, tmp_path / "out", "--validation", other, *words) == 0
    scores = told(tmp_path / "out")["scores"]
    assert scores["validation:logloss"] == scores["train:logloss"]
    write(FRAME[["y", *NAMES]].rename(columns={"age": "Alter"}), other)
    assert train("xgboost", file, tmp_path / "out", "--validation", other, *words) == 1
    assert "'age'" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_of_two_columns_of_one_name_none_is_taken_for_the_other(suffix, tmp_path, capsys):
    import pyarrow
    import pyarrow.parquet

    output, asked = tmp_path / "out", tmp_path / f"asked{suffix}"
    assert train("linear-learner", write(FRAME, tmp_path / "rows.csv"), output, "--label", "y") == 0
    twice = ["income, EUR", *NAMES[:1], *NAMES[2:], "age"]
    if suffix == ".csv":
        FRAME[twice].to_csv(asked, index=False)
    else:
        columns = [pyarrow.array(FRAME[name]) for name in twice]
        pyarrow.parquet.write_table(pyarrow.table(columns, names=twice), asked)
    header = ["--header"] if suffix == ".csv" else []
    assert oba("predict", "--model", output, "--input", asked, *header) == 1
    assert "two columns are called 'age'" in capsys.readouterr().err
    if suffix == ".parquet":
        assert train("kmeans", asked, tmp_path / "other") == 1
        assert "two columns are called 'age'" in capsys.readouterr().err


def test_names_that_are_hard_to_read_are_told_as_escapes_and_not_whole(tmp_path):
    hard = ["a\nb", "\u202ertl", "<b>", "x" * 3000]
    frame = FRAME[NAMES].set_axis(hard, axis=1)
    assert train("pca", write(frame, tmp_path / "rows.parquet"), tmp_path / "out") == 0
    report = told(tmp_path / "out")
    assert report["features"] == hard
    page = (tmp_path / "out" / "output" / "data" / "report.html").read_text(encoding="utf-8")
    assert "\u202e" not in page and "\\u202e" in page and "x… (3000 characters)" in page
    assert "<b> (" not in page and "&lt;b&gt; (" in page


def test_names_are_found_from_wherever_the_model_is_named(tmp_path, monkeypatch):
    assert train("kmeans", write(FRAME[NAMES], tmp_path / "rows.csv"), tmp_path / "out", "--header") == 0
    (tmp_path / "link").symlink_to(tmp_path / "out" / "model")
    monkeypatch.chdir(tmp_path / "out" / "model")
    with tarfile.open("model.tar.gz", "w:gz") as archive:
        archive.add("model_algo-1")
    for place in (Path(), Path("../model"), tmp_path / "link", Path("model.tar.gz")):
        assert of_features(place, tmp_path / "out" / "model") == NAMES


def test_a_page_of_another_model_is_left_out_of_account(tmp_path, capsys):
    """Here it has the same names, in another order."""
    outputs = tmp_path / "one", tmp_path / "other"
    for output, columns in zip(outputs, (NAMES, NAMES[::-1]), strict=True):
        assert train("kmeans", write(FRAME[columns], tmp_path / "rows.csv"), output, "--header") == 0
    shutil.rmtree(outputs[0] / "model")
    shutil.copytree(outputs[1] / "model", outputs[0] / "model")
    capsys.readouterr()
    answers = [oba("predict", "--model", output, "--input", tmp_path / "rows.csv", "--header") for output in outputs]
    told = capsys.readouterr()
    assert answers == [0, 0]
    assert len(set(told.out.split('{"predictions"'))) == 2  # both by their places, which are the second's
    assert told.err.count("is of another model") == 1
    (outputs[1] / "model" / "notes.txt").write_text("a file beside the model's")
    assert of_features(outputs[1] / "model", outputs[1] / "model") == NAMES[::-1]


def test_exports_have_the_names(tmp_path):
    assert train("kmeans", write(FRAME[NAMES], tmp_path / "rows.csv"), tmp_path / "out", "--header") == 0
    assert oba("export", "--model", tmp_path / "out", "--to", "json", "--output", tmp_path / "model.json") == 0
    assert json.loads((tmp_path / "model.json").read_text())["feature_names"] == NAMES
    of_none = {"features": NAMES, "model": {}}
    for stale in ({"features": ["a"]}, {"features": [1, 2, 3, 4]}, [], {"features": "abcd"}, of_none):
        (tmp_path / "out" / "output" / "data" / "report.json").write_text(json.dumps(stale))
        assert oba("export", "--model", tmp_path / "out", "--to", "json", "--output", tmp_path / "model.json") == 0
        assert "feature_names" not in json.loads((tmp_path / "model.json").read_text())


@pytest.mark.parametrize("stated", ['{"columns": "age"}', '{"columns": [1]}', "[]", "{"])
def test_names_that_are_none_end_a_job_before_it_begins(stated, tmp_path):
    from container.paths import Paths
    from container.settings import Settings
    from container.training import train as training

    assert train("kmeans", write(FRAME[NAMES], tmp_path / "rows.csv"), tmp_path / "out", "--header") == 0
    paths = Paths(tmp_path / "out")
    paths.columns.write_text(stated)
    with logging_kept():
        assert training.run(paths, Settings(base_directory=paths.base, algorithm="kmeans")) == 1
    assert "columns.json" in paths.failure.read_text()


@pytest.mark.parametrize("name", JOBS)
def test_in_python_a_frames_columns_are_found_by_name(name, tmp_path):
    output = tmp_path / "out"
    assert train(name, write(FRAME, tmp_path / "rows.csv"), output, "--label", "y") == 0
    model, plain = algorithms.load(output), algorithms.load(pack(output / "model", tmp_path / "model.tar.gz"))
    assert model.feature_names == NAMES
    assert plain.feature_names is None
    expected = plain.predict(FRAME[NAMES].to_numpy())
    reordered = FRAME[NAMES[::-1]]
    of_polars = pytest.importorskip("polars").DataFrame(reordered.to_dict("list"))
    for frame in (FRAME[NAMES], reordered, of_polars, pytest.importorskip("pyarrow").Table.from_pandas(reordered)):
        found = model.predict(frame)
        assert all(np.array_equal(found[column], expected[column]) for column in expected)
    with pytest.raises(PredictionError, match="lacks the column 'age', unlike the data that the model was trained on"):
        model.predict(reordered.rename(columns={"age": "Alter"}))
    with pytest.raises(PredictionError, match="has besides the column 'y'"):
        model.predict(FRAME)
    with pytest.raises(PredictionError, match="has twice the column 'age'"):
        model.predict(FRAME[[*NAMES, "age"]])
    with pytest.raises(PredictionError, match=r"LazyFrame has no rows yet: frame\.collect\(\) gives them"):
        model.predict(of_polars.lazy())
    by_place = FRAME[NAMES].set_axis(range(4), axis=1)
    assert np.array_equal(next(iter(model.predict(by_place).values())), next(iter(expected.values())))
    assert model.export("json")["feature_names"] == NAMES
    assert model.export("json", NAMES[::-1])["feature_names"] == NAMES[::-1]


def test_an_estimator_of_a_jobs_folder_knows_the_names(tmp_path):
    output = tmp_path / "out"
    assert train("linear-learner", write(FRAME, tmp_path / "rows.csv"), output, "--label", "y") == 0
    estimator = estimators.LinearLearnerClassifier.load(output)
    assert estimator.feature_names_in_.tolist() == NAMES
    assert estimator.score(FRAME[NAMES], FRAME["y"]) > 0.8
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(FRAME[NAMES[::-1]])


def test_in_python_too_the_report_of_another_model_is_told_of(tmp_path):
    output, other = tmp_path / "out", tmp_path / "other"
    assert train("kmeans", write(FRAME[NAMES], tmp_path / "rows.csv"), output, "--header") == 0
    assert train("kmeans", write(FRAME[NAMES[:3]], tmp_path / "rows.csv"), other, "--header") == 0
    shutil.copy(other / "model" / "model_algo-1", output / "model" / "model_algo-1")
    with pytest.warns(UserWarning, match="is of another model"):
        assert algorithms.load(output).feature_names is None
