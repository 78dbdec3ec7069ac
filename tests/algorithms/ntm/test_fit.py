"""Training of the neural topic model: topics that are known, words, whole jobs."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import scipy.sparse as sp

from algorithms import registry
from algorithms.common import topics
from algorithms.errors import (
    ChannelError,
    TrainingDataError,
    TrainingStopped,
)
from algorithms.events import Progress, Throughput
from algorithms.ntm import NTM, auxiliary, seeding
from algorithms.ntm.fit import Patience
from algorithms.ntm.model import TOPIC_WEIGHTS
from recordio.batches import Batch
from recordio.record_writer import encode_records
from tests.algorithms.fakes import FakeJob, MemoryStream, on_hosts
from tests.algorithms.ntm.jobs import corpus, fit, model, parse
from tests.opt_ml import OptMl


@pytest.fixture(scope="module")
def trained():
    """A small job with all channels of rows, and its model."""
    counts, _ = corpus()
    job = FakeJob()
    streams = {"validation": MemoryStream(counts[:100]), "test": MemoryStream(counts[100:200])}
    return fit(counts, 4, job, streams, epochs=12), job


# ---- topics ---------------------------------------------------------------------------------------------------------


def test_known_topics_are_found(trained):
    found, _ = trained
    best = topics.top_words(found.topics, 5)
    assert sorted({int(word) // 5 for word in topic} for topic in best) == [{0}, {1}, {2}, {3}]
    assert topics.distinct(best) == 4
    counts, own = corpus(seed=7)
    weights = found.predict(Batch(counts))[TOPIC_WEIGHTS]
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    named = best[weights.argmax(axis=1), 0] // 5
    assert (named == own).mean() > 0.97


def test_what_is_logged(trained):
    _, job = trained
    epochs = [epoch for epoch, _ in job.measured("train")]
    assert epochs == list(range(1, len(epochs) + 1))
    held_out = job.values("validation")
    assert held_out[-1] == min(held_out)  # the best model's, for who looks at the last
    assert job.last("test", "total_loss") == pytest.approx(held_out[-1], abs=0.1)
    assert [message for message in job.messages if message.startswith("#validation_score (1): ")]
    topic_lines = job.messages[
        [m.startswith("Topics from epoch:final (num_topics:4) [, tu ") for m in job.messages].index(True) :
    ]
    assert len(topic_lines[1].split()) == 20


def test_early_stopping_follows_sagemakers_log():
    """Losses of epochs 52 to 63 of AWS's example, in which 5 epochs of patience had these counts of bad epochs."""
    losses = [
        6.686613,
        6.687808,
        6.696467,
        6.688788,
        6.687335,
        6.683368,
        6.685685,
        6.682853,
        6.685278,
        6.680781,
        6.684883,
    ]
    patience, counts = Patience(5, 0.001), []
    for loss in losses:
        assert not patience.exceeded(loss, FakeJob())
        counts.append(patience.bad)
    assert counts == [0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 1]
    worse = [patience.exceeded(7.0, FakeJob()) for _ in range(5)]
    assert worse == [False, False, False, False, True]


def test_training_stops_early_and_keeps_the_best(trained):
    counts, _ = corpus()
    job = FakeJob()
    held_out = {"validation": MemoryStream(counts[:50])}
    found = fit(counts, 4, job, held_out, tolerance=0.1, num_patience_epochs=1, epochs=40)
    loss = found.loss([Batch(counts[:50])], np.random.default_rng(job.seed))
    assert job.scores["validation", "total_loss"] == pytest.approx(loss.total, rel=1e-6)
    assert len(job.of(Progress)) < 10
    assert any("Stopping training early" in message for message in job.messages)


def test_few_documents_without_validation_are_trained_on_as_long_as_the_model_gets_better():
    counts, _ = corpus(20)
    job = FakeJob(seed=1)
    fit(counts, 4, job)
    assert len(job.values("train")) == 50  # 32, where the draws of an epoch decided that it was a bad one


class Leavable(FakeJob):
    """A job that knows whether it may be left in the midst of what it does, as there is no model yet."""

    inside = False

    @contextlib.contextmanager
    def nothing_to_keep(self):
        self.inside = True
        yield
        self.inside = False


def test_a_job_may_be_left_while_the_first_topics_are_sought(monkeypatch):
    """With 8,000 documents of 2,000 words that took ten seconds, in which a stop was not heard."""
    job, find, seen = Leavable(), seeding.find, []
    monkeypatch.setattr(seeding, "find", lambda *args: seen.append(job.inside) or find(*args))
    fit(corpus(60)[0], 4, job, epochs=1)
    assert seen == [True]
    assert not job.inside


@pytest.mark.parametrize(("owns", "size", "expected"), [(True, 20, True), (False, 20, False), (True, 60, False)])
def test_small_steps_of_a_process_of_their_own_take_one_thread(monkeypatch, owns, size, expected):
    asked = []

    def load(seed, *, one_thread):
        asked.append(one_thread)
        raise TrainingStopped("as Keras need not be loaded")

    monkeypatch.setattr("algorithms.ntm.fit.load_keras", load)
    counts, _ = corpus(60)
    monkeypatch.setattr("algorithms.ntm.fit._SMALL_STEP", 20 * counts.shape[1] * (3 * 4 + 4) + 1)
    with pytest.raises(TrainingStopped):
        fit(counts, 4, FakeJob(owns_process=owns), mini_batch_size=size)
    assert asked == [expected]


def test_a_stop_in_the_midst_leaves_the_model_so_far():
    counts, _ = corpus(100)
    job = FakeJob(stop_after=3)
    assert fit(counts, 4, job).feature_dim == 20
    assert "asked to stop" in job.warnings[0]
    with pytest.raises(TrainingStopped):
        fit(counts, 4, FakeJob(stop_after=0))


def test_one_epoch_of_a_pipe_is_read_for_each_epoch_of_training():
    counts, _ = corpus(100)
    train, validation = (MemoryStream(counts, cuts=[7, 30], epochs_left=3) for _ in range(2))
    values = parse(num_topics=4, feature_dim=20, epochs=3, mini_batch_size=32)
    NTM.fit(values, {"train": train, "validation": validation}, FakeJob())
    assert train.epochs_begun == validation.epochs_begun == 3


def test_sub_sample_draws_its_share():
    counts, _ = corpus()
    job = FakeJob()
    fit(counts, 4, job, epochs=5, sub_sample=0.25)
    drawn = [event.rows for event in job.of(Throughput)]
    assert len(set(drawn)) > 1 and 80 < np.mean(drawn) < 120


def test_seeds_of_fewer_documents_than_topics():
    seed = seeding.find(sp.csr_array(np.float32([[1, 0, 2], [0, 3, 0]])), 5, np.random.default_rng(0))
    assert seed.topics.shape == (5, 3) and np.isfinite(seed.topics).all()
    np.testing.assert_allclose(np.exp(seed.background), np.array([1.5, 3.5, 2.5]) / 7.5, rtol=1e-5)


def test_hosts_that_share_the_work_find_the_seeds_of_one():
    """Each takes the steps of its part of the documents; three hosts, of which one draws the first topics."""
    counts = np.random.default_rng(2).poisson(0.5, (200, 30)) + np.eye(200, 30)
    documents = sp.csr_array(counts.astype(np.float32))
    one = seeding.find(documents, 4, np.random.default_rng(0))
    found = on_hosts(3, lambda hosts: seeding.find(documents, 4, np.random.default_rng(hosts.rank), hosts))
    for seed in found:
        np.testing.assert_allclose(seed.topics, one.topics, atol=1e-4)
        np.testing.assert_array_equal(seed.topics, found[0].topics)
        np.testing.assert_array_equal(seed.background, one.background)


# ---- what cannot be trained on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((0, 3), np.float32), "no document with words"),
        (np.zeros((4, 3), np.float32), "no document with words"),
        (np.float32([[1, -2, 3]]), "holds -2; features must be counts of words"),
    ],
)
def test_rows_that_are_no_corpus_are_refused(counts, message):
    with pytest.raises(TrainingDataError, match=message):
        fit(counts, 2)


def test_a_validation_channel_of_another_width_is_refused():
    with pytest.raises(TrainingDataError, match="feature_dim is 20, but channel 'validation' has 3 features"):
        fit(corpus(50)[0], 4, channels={"validation": MemoryStream(np.ones((2, 3), np.float32))})


@pytest.mark.parametrize("epochs", [1, 30])  # after one, no loss of a step tells yet
@pytest.mark.parametrize("channels", [(), ("validation",)])
def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_do(channels, epochs):
    counts = corpus(50)[0] * 1e6
    given = {"optimizer": "sgd", "learning_rate": 1.0, "encoder_layers_activation": "relu", "epochs": epochs}
    with pytest.raises(
        TrainingDataError, match="training diverged: the loss of epoch 1 is .*; try a learning_rate below 1"
    ):
        fit(counts, 4, channels={name: MemoryStream(counts) for name in channels}, **given)


@pytest.mark.parametrize("documents", [50, 1000])  # of so many, an epoch's loss is that of its steps
@pytest.mark.parametrize("stop_after", [None, 2])
def test_a_last_step_that_diverges_leaves_no_model(stop_after, documents):
    counts = corpus(documents)[0] * 1e6
    given = {"optimizer": "sgd", "learning_rate": 1.0, "encoder_layers_activation": "relu", "epochs": 1}
    job = FakeJob(stop_after=stop_after)
    with pytest.raises(TrainingDataError, match="diverged: the loss of epoch 1 is"):
        fit(counts, 4, job, mini_batch_size=documents, **given)


# ---- words ----------------------------------------------------------------------------------------------------------


WORDS = [f"word{number}" for number in range(20)]


def test_words_and_their_coherence_are_logged(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    vectors = {word: np.eye(4)[number // 5] for number, word in enumerate(WORDS[:-1])}
    lines = [f"{word} {' '.join(map(str, vector))}" for word, vector in vectors.items()]
    (tmp_path / "glove.txt").write_text("\n".join([*lines, "other 1 2 3 4"]))
    (tmp_path / "out").mkdir()
    job = FakeJob(output_directory=tmp_path / "out")
    fit(corpus()[0], 4, job, {"auxiliary": tmp_path}, epochs=8)
    assert job.warnings == ["1 out of 20 in vocabulary do not have embeddings!"]
    at = next(n for n, message in enumerate(job.messages) if message.startswith("Topics from epoch:final"))
    # All 20 words are each topic's top 20: of 190 pairs, those of the same four or five words have a cosine of 1.
    assert job.messages[at] == f"Topics from epoch:final (num_topics:4) [wetc {36 / 190:.2f}, tu 0.25]:"
    assert job.messages[at + 1].startswith("[0.19, 0.25] word")
    report = json.loads((tmp_path / "out" / "topics.json").read_text())["topics"]
    assert {word["word"] for word in report[0]["words"]} <= set(WORDS)
    assert sum(topic["share"] for topic in report) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no file 'vocab.txt'; it holds: nothing"),
        ({"words.txt": b"a"}, "no file 'vocab.txt'; it holds: words.txt"),
        ({"vocab.txt": b"a\nb"}, "feature_dim is 3, but 'vocab.txt' of channel 'auxiliary' has 2 lines"),
        ({"vocab.txt": b"a\n\nc\n"}, "line 2 of 'vocab.txt' of channel 'auxiliary' has no word"),
        ({"vocab.txt": "a\nb\n\xe9".encode("latin-1")}, "'vocab.txt' of channel 'auxiliary' is not UTF-8"),
        ({"vocab.txt": b"a\nb\nc", "x.txt": b"", "y.txt": b""}, "several .txt files besides 'vocab.txt': x.txt, y.txt"),
        ({"vocab.txt": b"a\nb\nc", "x.txt": b"d 1 2"}, "'x.txt' of channel 'auxiliary' has no vector of any word"),
        ({"vocab.txt": b"a\nb\nc", "x.txt": b"a 1 2\nb 1 x"}, "line 2 of 'x.txt' is no word with its numbers"),
        ({"vocab.txt": b"a\nb\nc", "x.txt": b"a 1 2\nb 1"}, "line 2 of 'x.txt' has 1 numbers"),
        (
            {"vocab.txt": b"a\nb\nc", "x.txt": b"a 1 nan"},
            "line 1 of 'x.txt' has 2 numbers, of which all must be finite",
        ),
    ],
)
def test_auxiliary_files_that_cannot_be_used_are_refused(files, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ChannelError, match=message):
        auxiliary.read(tmp_path, 3)


def test_vectors_of_glove_and_of_word2vec_are_read(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\ufeffcaf\xe9\r\nb\r\nc".encode())
    (tmp_path / "vectors.txt").write_text("3 2\ncaf\xe9 1 2\nz 3 4\nc 0.5 -1e-3\n", encoding="utf-8")
    found = auxiliary.read(tmp_path, 3)
    assert found.words == ["caf\xe9", "b", "c"] and found.unknown == 1
    np.testing.assert_allclose(found.vectors, [[1, 2], [0, 0], [0.5, -1e-3]])


# ---- a whole job, and Keras -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_of_pipes_with_a_vocabulary(tmp_path):
    """Epochs are FIFOs of their own, of sparse documents for training and dense ones for validation."""
    counts, _ = corpus(120)
    opt_ml = OptMl(tmp_path).hyperparameters({"num_topics": 4, "feature_dim": 20, "mini_batch_size": 50}, epochs=2)
    opt_ml.pipe("train", [encode_records(sp.csr_array(counts))] * 2, "application/x-recordio-protobuf")
    lines = "".join(",".join(f"{value:g}" for value in row) + "\n" for row in counts[:40])
    opt_ml.pipe("validation", [lines.encode()] * 2, "text/csv;label_size=0")
    opt_ml.channel("auxiliary", {"vocab.txt": "\n".join(WORDS).encode()}, "text/plain")
    outcome = opt_ml.train_in_fork("ntm")
    assert outcome.code == 0, outcome.log
    assert outcome.model_files == ["model_algo-1"]
    assert "#quality_metric: host=algo-1, epoch=2, validation total_loss <loss>=" in outcome.log
    topics = outcome.log.split("Topics from epoch:final (num_topics:4) ")[1]  # no wetc: there are no word vectors
    assert re.match(r"\[tu [01]\.[0-9]{2}\]:\n.*\[[01]\.[0-9]{2}\] word", topics)
    assert "nan" not in topics.partition("NPMI")[0]
    shown = json.loads((opt_ml.paths.output_data / "report.json").read_text())["figures"][-1]
    assert (shown["kind"], len(shown["cards"])) == ("cards", 4)
    assert all(word.startswith("word") for card in shown["cards"] for word, _ in card["words"])


@pytest.mark.slow
def test_a_server_needs_no_keras(tmp_path):
    model().save(tmp_path)
    program = """
        import sys
        from pathlib import Path
        import numpy as np
        from algorithms import registry
        from recordio.batches import Batch
        model = registry.find("ntm").load(Path(sys.argv[1]))
        print(model.predict(Batch(np.ones((1, 6), np.float32))))
        assert not {"keras", "tensorflow", "jax", "torch"} & {name.split(".")[0] for name in sys.modules}
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert registry.find("ntm").recognises(tmp_path)
