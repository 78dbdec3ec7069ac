"""The one table: which peer a line names, what it says of ratios and shares, and that every benchmark still runs."""

import contextlib
import importlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris

from benchmarks import (
    common,
    copied_rows,
    costs,
    factorization_kinds,
    growth,
    hosts,
    hosts_jobs,
    images,
    linear_defaults,
    linear_fits,
    linear_targets,
    lines,
    ntm,
    seq2seq,
    soak,
    summary,
    topics,
    xgboost_,
)
from benchmarks.common import Contender, four_digits
from recordio.batches import Batch
from tests.algorithms.samples import Records, eagerly, pictures


def contender(name, seconds, result=None):
    return Contender(name, lambda: None, result, seconds)


def test_the_best_peer_is_the_fastest_of_those_that_are_as_good():
    ours = contender("ours", [1.0, 2.0, 1.0], 100.0)
    fast_and_wrong, slow, fair = (
        contender(*one) for one in (("a", [0.1] * 3, 150.0), ("b", [9.0] * 3, 90.0), ("c", [4.0] * 3, 100.9))
    )
    limit = contender(lines.LIMIT, [0.5, 1.0, 0.5])
    line = lines.raced(
        "x", [ours, fast_and_wrong, slow, fair, limit], limit="a copy", quality=lines.Quality("loss", float)
    )
    assert (line.peer, line.ours, line.theirs, line.ahead, line.share) == ("c", 1.0, 4.0, 4.0, 0.5)
    assert (line.quality, line.peer_quality) == ("loss 100", "loss 100.9")
    assert lines.raced("x", [ours, fast_and_wrong, slow]).peer == "a"
    higher = lines.raced(
        "x", [ours, fast_and_wrong, fair], quality=lines.Quality("accuracy", float, higher=True), megabytes=3
    )
    assert (higher.peer, higher.ours, higher.unit) == ("a", 3.0, "MB/s")


def test_numbers_are_written_as_people_write_them():
    numbers = (0.000123456, 0.18441, 39.376, 999.96, 19823.4, 2.982e6, float("nan"))
    assert [four_digits(number) for number in numbers] == [
        "0.0001235",
        "0.1844",
        "39.38",
        "1,000",
        "19,820",
        "2,982,000",
        "nan",
    ]


def test_each_peer_alone_stands_beside_the_best_of_all():
    score = linear_defaults.Score
    first = linear_defaults.Form("", (9, 2), 2, score("ours", 0.3, 0.9, 1.0), 1.0, [score("a", 0.31, 0.8, 1.0)])
    theirs = [score("a", 0.2, 0.9, 1.0), score("b", None, 0.95, 1.0)]
    second = linear_defaults.Form("", (9, 2), 2, score("ours", 0.3, 0.945, 1.0), 1.0, theirs)
    theirs = [score("c", 4.0, 1.0, 1.0), score("d", 5.0, 0.5, 1.0)]
    third = linear_defaults.Form("", (9, 2), 0, score("ours", 4.3, 0.54, 1.0), 1.0, theirs)
    found = list(linear_defaults.peer_rows([first, second, third]))
    assert found == [
        ("a", 2, 0, 1, 1, 1),
        ("b", 1, "", 0, 1, 1),
        ("c", 1, 0, 1, 0, 0),
        ("d", 1, 1, 0, 0, 0),
    ]
    assert linear_defaults.row(second)[-1] == "loss, accuracy"


def test_without_a_peer_as_good_the_best_is_named():
    ours, one, other = contender("ours", [1.0], 1.0), contender("a", [0.1], 3.0), contender("b", [0.2], 2.0)
    line = lines.raced("x", [ours, one, other], quality=lines.Quality("loss", float))
    assert (line.peer, line.ahead) == ("b", 0.2)
    assert "Behind in 1 of 1 lines: x (0.20)." in summary.behind([line])
    assert "| x " in lines.as_table("", [line]) and "| 0.20 " in lines.as_table("", [line])


def test_an_oracle_is_computed_once_for_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "__file__", str(tmp_path / "benchmarks" / "common.py"))
    found = [common.kept("best", [growth.dense({"rows": n, "features": 2})[0]], lambda n=n: float(n)) for n in (3, 4)]
    again = common.kept("best", [growth.dense({"rows": 3, "features": 2})[0]], lambda: pytest.fail("computed again"))
    assert (found, again) == ([3.0, 4.0], 3.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")  # these two are
@pytest.mark.filterwarnings("ignore:The training result may differ:RuntimeWarning")  # tomotopy's, where peers are there
@pytest.mark.parametrize("name", summary.NAMES)
def test_every_benchmark_runs(name, monkeypatch):
    """In quick mode, which leaves out what takes minutes: there it says nothing, and is imported all the same."""
    monkeypatch.setattr(common, "SHARED_DATA", common.SHARED_DATA / "absent")
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "SHARED_DATA"):
        monkeypatch.setattr(module, "SHARED_DATA", common.SHARED_DATA)
    if name == "wide":
        monkeypatch.setattr(module, "apart", lambda run, *arguments: run(*arguments))
    if name == "serving":  # of which each is a process forked from this large one
        monkeypatch.setattr(module, "CONNECTIONS", 2)
    found = list(module.lines(True))
    assert bool(found) == (name not in ("ntm", "images", "seq2seq"))
    for line in found:
        assert line.ours > 0 and line.ahead is not None and line.ahead > 0


@pytest.mark.filterwarnings("ignore:(?s).*Text file input has been deprecated:UserWarning")  # the peer's way of reading
def test_the_tables_of_xgboost_are_made(monkeypatch):
    """Those that the one table has no lines of; models and scores are the library's."""
    random = np.random.default_rng(0)
    rows, labels = random.standard_normal((60, 4), np.float32), random.integers(3, size=60).astype(np.float32)
    several = {"objective": "multi:softprob", "num_class": 3, "num_round": 3, "base_score": 0.5}
    cases = [xgboost_.Case("digits", rows, labels, several), xgboost_.Case("a9a", sp.csr_array(rows), labels, several)]
    monkeypatch.setattr(xgboost_, "cases", lambda: cases)
    made = [xgboost_.loading(1), xgboost_.fitting(1), xgboost_.predicting(1)]
    assert [each.count("\n| digits") + each.count("yes") for each in made] == [4, 3, 3]
    assert not any("NO" in each for each in made)


@pytest.mark.ci
def test_hosts_are_compared(monkeypatch):
    """With one that has the machine to itself, with as many jobs of one, and with one that takes as many steps."""
    random = np.random.default_rng(0)
    job, rows = hosts_jobs.JOBS["linear-learner"](0.001, random), random.standard_normal((50, 100), np.float32)
    found = hosts._compared("linear-learner", job._replace(unseen=Batch(rows, np.ones(50, np.float32))), [2])
    ways = ["1", "1 of 2 jobs at once", "1, mini_batch_size=2000", "2, sharded", "2, replicated"]
    assert [line[1] for line in found] == ways
    named = [dict(zip(hosts.HEAD, line, strict=True)) for line in found]
    assert all(float(line["CPU of one"]) > 0 and 0 <= float(line["unseen"]) <= 1 for line in named)
    assert all(float(ratio) > 0 for line in named[3:] for ratio in line["ratios"].split(", "))


def test_a_benchmark_that_fails_says_where_and_why(monkeypatch, capsys):
    def fails(name, quick):
        program = [sys.executable, "-c", "raise SystemExit('no disk')"]
        subprocess.run(program, check=True, capture_output=True, text=True)

    monkeypatch.setattr(summary, "_measured", fails)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "images"])
    with pytest.raises(SystemExit, match=r"^failed: images \(.*CalledProcessError: .*\)$"):
        summary.main()
    told = capsys.readouterr().err
    assert "images: failed:" in told and "in fails" in told and "no disk" in told


@pytest.mark.slow
def test_images_are_timed_by_the_epoch():
    """The part of the benchmark that quick mode leaves out."""

    class Data:
        classes, counts = ("a", "b"), {"train": 12}

        def channel(self, part):
            return Records(pictures(12))

    task = images.Task("two classes", 16, None, 2, batch=8)
    with eagerly(shallow=True):
        accuracies, seconds = images._ours(task, Data(), 0)
    assert len(accuracies) == len(seconds) == 2 and min(seconds) > 0
    assert len(images._summed([(accuracies, seconds)], Data())) == 5


@pytest.mark.slow
def test_the_job_of_the_neural_topic_model_runs(monkeypatch):
    counts = sp.csr_array(np.random.default_rng(0).poisson(1.0, (60, 30)).astype(np.float32))
    monkeypatch.setattr(ntm, "RECIPE", ntm.RECIPE | {"num_topics": 2, "feature_dim": 30, "epochs": 2})
    loss, topics = ntm.job(ntm.Corpus(counts[:40], counts[40:], [f"w{number}" for number in range(30)]))
    assert 0 < loss < 10 and topics.shape == (2, 30)


@pytest.mark.slow
def test_the_job_of_sequence_to_sequence_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(seq2seq, "HIDDEN", 4)
    monkeypatch.setattr(seq2seq, "BATCH", 2)
    pairs = [(" ".join(word), " ".join(reversed(word))) for word in ("abc", "bca", "cab", "bac") for _ in range(64)]
    made = seq2seq.Task("made", pairs, pairs[:8], pairs[:3])
    found = seq2seq.ours(made, tmp_path, updates=120)
    assert found.tokens_a_second > 0 and len(found.found) == 3


def test_lda_on_few_documents(monkeypatch):
    monkeypatch.setattr(topics, "FEW", ((5, 20, 30, 2),))
    told = topics._few(1).splitlines()
    assert told[-2].startswith("| 5 x 20, 30 words, 2") and told[-1].startswith("| all")


def test_factorization_machines_on_a_kind_of_data():
    rows, scores = factorization_kinds._ratings(np.random.default_rng(0), 12, 9, 2, 60)
    name, count, *losses, _, _, _ = factorization_kinds._row("tiny", rows, scores, 60, False)
    assert (name, count) == ("tiny", 60) and np.isfinite(losses).all()


def test_a_fit_of_the_linear_learner_beside_scikit_learns():
    iris = load_iris()
    _, size, *milliseconds, loss, of_search = linear_fits._row("iris", iris.data, iris.target, 0)
    assert size == "120 x 4" and min(milliseconds) > 0
    assert loss < 1.1 * of_search + 0.05


def test_thresholds_of_the_linear_learner_on_a_kind_of_data():
    precise = linear_targets.job("balanced", 0, "target_precision", 0.8)
    assert not precise.warned and precise.beyond >= -0.02
    assert 0.8 < precise.other <= precise.best
    *_, every, _ = linear_targets.compared(["300 rows"], 1).splitlines()
    assert every.startswith("| all")


def test_copies_of_rows_on_a_kind_of_data():
    line = copied_rows.compared(["repeated, 300 rows twice, 50 columns"], 1).splitlines()[-1]
    linear, machine, best, constant = (float(cell) for cell in line.split("|")[2:-1])
    assert max(linear, machine) < 1.1 * best < constant


@pytest.mark.parametrize("name", ["kmeans", "pca, randomized, sparse rows"])
def test_costs_are_stated_for_a_million_rows(name):
    found = costs.measured(name, quick=True)
    assert found.rows == growth.CASES[name].few()["rows"]
    assert 0 < found.predicting_seconds < found.training_seconds


def test_the_page_keeps_what_was_measured_before(tmp_path, monkeypatch, capsys):
    def apart(run, name, quick):
        if name == "kmeans":
            raise ModuleNotFoundError("no peer")
        return [lines.Line(f"a line of {name}", 1.0, "s", "y", 2.0, 2.0, "a copy", 0.5)]

    monkeypatch.setattr(summary, "apart", apart)
    for names in (["pca"], ["kmeans", "readers"]):
        monkeypatch.setattr("sys.argv", ["benchmarks", "--only", *names, "--write", str(tmp_path / "page.md")])
        with pytest.raises(SystemExit, match="failed: kmeans") if "kmeans" in names else contextlib.nullcontext():
            summary.main()
    page = (tmp_path / "page.md").read_text()
    assert page.index("a line of readers") < page.index("a line of pca") and "Behind in 0 of 2 lines." in page
    assert f"readers, pca: 0 minutes on {summary.today()}; " in page and "numpy" in page
    assert "Behind in 0 of 1 lines." in capsys.readouterr().out


@pytest.mark.slow
def test_a_short_soak(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["soak", "--seconds", "2", "--only", "kmeans"])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    said = capsys.readouterr().out
    assert ended.value.code == 0 and " 0 errors" in said and "| kmeans" in said, said
