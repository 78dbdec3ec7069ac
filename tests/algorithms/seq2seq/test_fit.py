"""Training, its log and its artifact; requests and answers."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms import hyperparameters, registry
from algorithms.errors import ChannelError, HyperparameterError, ModelError, PredictionError, TrainingDataError
from algorithms.events import Duration, Measured
from algorithms.interface import JSON, JSON_LINES, RECORDIO
from algorithms.seq2seq import Seq2Seq
from algorithms.seq2seq.evaluation import bleu
from algorithms.seq2seq.model import Seq2SeqModel
from algorithms.seq2seq.vocabulary import Vocabulary
from container.__main__ import train
from container.serving import request
from container.serving.app import make_app
from container.serving.request import Endpoint, Request
from container.settings import Settings
from container.training import dialects
from recordio import sequences
from recordio.errors import DataError
from recordio.framing import frames
from recordio.record_message import Record
from recordio.sequences import Pairs, Ragged, encode
from tests.algorithms import samples
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import SEQ2SEQ, seq2seq_channels, seq2seq_pairs
from tests.opt_ml import OptMl


def parsed(**given: str) -> Any:
    return hyperparameters.parse(Seq2Seq.hyperparameters, SEQ2SEQ.hyperparameters | given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seq2SeqModel, FakeJob]:
    """Words written backwards, learnt by a recurrent network."""
    job = FakeJob()
    given = {
        "encoder_type": "rnn",
        "decoder_type": "rnn",
        "rnn_num_hidden": "48",
        "num_embed_source": "24",
        "num_embed_target": "24",
        "batch_size": "64",
        "learning_rate": "0.01",
        "max_num_epochs": "6",
        "checkpoint_frequency_num_batches": "60",
        "bleu_sample_size": "-1",
        "embed_dropout_source": "0.05",
        "training_metric": "accuracy",
    }
    channels = seq2seq_channels(tmp_path_factory.mktemp("vocab"), seq2seq_pairs(3000), seq2seq_pairs(50, 1))
    return Seq2Seq.fit(parsed(**given), channels, job), job


def test_it_learns_to_write_backwards(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    model, _ = trained
    held_out = seq2seq_pairs(200, 2)
    found = model.translator.translate(list(held_out.source), 5)
    right = [a.tokens.tolist() == b.tolist() for a, b in zip(found, held_out.target, strict=True)]
    assert np.mean(right) > 0.9


def test_attention_looks_where_it_reads(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    """The first word written is the last of the source; its weight is the largest of its row."""
    model, _ = trained
    (hypothesis,) = model.translator.translate([np.array([4, 5, 6, 7])], 5, weights=True)
    assert hypothesis.tokens.tolist() == [7, 6, 5, 4]
    assert (hypothesis.weights.argmax(axis=1) == [3, 2, 1, 0]).mean() >= 0.5


def test_the_log_has_sockeye_s_lines(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    _, job = trained
    checkpoints = [(step, score.metric, score.value) for step, score in job.measured("validation")]
    assert {name for _, name, _ in checkpoints} == {"perplexity", "accuracy", "bleu"}
    perplexities = job.values("validation", "perplexity")
    assert perplexities[-1] < perplexities[0] < 6  # 5 letters and </s>
    ((line, _),) = dialects.find("sockeye")("", "").event(job.of(Duration)[0])
    assert re.fullmatch(r"Checkpoint \[1\]\tUpdates=60 Epoch=1 Samples=\d+ Time-cost=\d+\.\d{3}", line)
    best = min(range(len(perplexities)), key=perplexities.__getitem__)
    assert job.messages[-1] == (
        f"Training finished. Best checkpoint: {best + 1}. Best validation perplexity: {perplexities[best]:.6f}"
    )
    assert job.scores["validation", "perplexity"] == perplexities[best]
    assert [score.metric for _, score in job.measured("train")] == ["accuracy"] * len(perplexities)
    assert len(job.intermediates) == sum("improved to" in message for message in job.messages)


def test_the_model_is_a_mean_of_the_weights_after_each_fifth_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from algorithms.common.networks import load_keras

    load_keras(0)
    from algorithms.seq2seq.network import Network

    looks: list[dict[str, np.ndarray]] = []
    arrays = Network.arrays
    monkeypatch.setattr(Network, "arrays", lambda self: looks.append(self.named_arrays(arrays(self))) or arrays(self))
    with samples.eagerly():
        model = Seq2Seq.fit(
            parsed(max_num_batches="10", checkpoint_frequency_num_batches="10", max_num_epochs="9", batch_size="4"),
            seq2seq_channels(tmp_path),
            FakeJob(),
        )
    fifth, tenth = looks[:2]
    for name, value in model.translator.parameters.items():
        assert not np.array_equal(fifth[name], tenth[name])
        np.testing.assert_allclose(value, fifth[name] + 10 / 12 * (tenth[name] - fifth[name]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("tab", ["\t", "#011"])
def test_patterns_find_the_metrics_with_either_tab(tab: str) -> None:
    for metric in Seq2Seq.metrics:
        event = Measured.of(*metric.name.split(":"), 70.5, step=3)
        ((line, _),) = dialects.find(Seq2Seq.log_dialect)("", "").event(event)
        assert re.search(metric.regex, line.replace("\t", tab)).group(1) == "70.500000"  # type: ignore[union-attr]


def test_bleu_is_that_of_the_tokens() -> None:
    """By hand: 4 of 5 words, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples are right, and it is a word short."""
    expected = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4) * np.exp(1 - 6 / 5)
    assert bleu(["a b c d ."], ["a b c d e ,"]) == pytest.approx(expected)


# ---- stopping -------------------------------------------------------------------------------------------------------


def test_training_ends_without_gain_unless_epochs_are_given(tmp_path: Path) -> None:
    """With a rate next to nothing no checkpoint is better by accuracy than the first."""
    given = {
        "learning_rate": "1e-12",
        "checkpoint_frequency_num_batches": "1",
        "checkpoint_threshold": "2",
        "optimized_metric": "accuracy",
    }
    plain = {name: value for name, value in SEQ2SEQ.hyperparameters.items() if name != "max_num_epochs"}
    values = hyperparameters.parse(Seq2Seq.hyperparameters, plain | given)
    job = FakeJob()
    with samples.eagerly():
        Seq2Seq.fit(values, seq2seq_channels(tmp_path), job)
    assert "Maximum number of not improved checkpoints (2) reached: 2" in job.messages
    assert max(step for step, _ in job.measured()) == 3
    job = FakeJob()
    with samples.eagerly():
        Seq2Seq.fit(parsed(**given, max_num_batches="6"), seq2seq_channels(tmp_path), job)
    assert max(step for step, _ in job.measured()) == 6


# ---- data that cannot be trained on ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (
            Pairs(Ragged.of([[4], [4, 99]]), Ragged.of([[4], [4]])),
            "channel 'train', record 1: its source has the token 99",
        ),
        (Pairs(Ragged.of([[4], [4]]), Ragged.of([[4], [-1]])), "record 1: its target has the token -1"),
        (Pairs(Ragged.of([[4], []]), Ragged.of([[4], [4]])), "record 1: its source is empty"),
    ],
)
def test_sequences_that_cannot_be_learnt_are_named(tmp_path: Path, pairs: Pairs, words: str) -> None:
    with pytest.raises(TrainingDataError, match=re.escape(words)):
        Seq2Seq.fit(parsed(), seq2seq_channels(tmp_path, pairs), FakeJob())


@pytest.mark.parametrize("metric", ["perplexity", "bleu"])
def test_a_last_update_that_diverges_leaves_no_model(metric: str, tmp_path: Path) -> None:
    job = FakeJob()
    given = {"max_num_batches": "1", "learning_rate": "1e30", "weight_decay": "1e30", "optimized_metric": metric}
    with pytest.raises(
        TrainingDataError, match="diverged: the perplexity of channel 'validation' after 1 updates is nan"
    ):
        Seq2Seq.fit(parsed(**given), seq2seq_channels(tmp_path), job)
    assert not job.intermediates


def test_a_stop_after_an_update_that_diverges_leaves_no_model(tmp_path: Path) -> None:
    given = {"learning_rate": "1e30", "weight_decay": "1e30"}
    with pytest.raises(
        TrainingDataError, match="diverged: the perplexity of channel 'validation' after 1 updates is nan"
    ):
        Seq2Seq.fit(parsed(**given), seq2seq_channels(tmp_path), FakeJob(stop_after=1))


def test_vocabularies_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    channels = seq2seq_channels(tmp_path)
    for content, words in (
        ('{"<pad>": 0}', "'vocab.trg.json' is no vocabulary: the token '<unk>' must have the id 1"),
        ('["a"]', "must be a JSON object"),
        ("{", "'vocab.trg.json' is no vocabulary"),
        ('{"a": 7}', "the ids must be 0, 1, 2 and so on"),
    ):
        (tmp_path / "vocab.trg.json").write_text(content)
        with pytest.raises(ChannelError, match=re.escape(words)):
            Seq2Seq.fit(parsed(), channels, FakeJob())
    (tmp_path / "vocab.trg.json").unlink()
    with pytest.raises(ChannelError, match="Vocab files are not present"):
        Seq2Seq.fit(parsed(), channels, FakeJob())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rnn_num_hidden": "7", "decoder_type": "rnn"}, "7 is odd"),
        ({"min_num_epochs": "3"}, "'min_num_epochs': 3 is more than max_num_epochs, 2"),
        ({"learning_rate": "0"}, "'learning_rate': 0 is not above 0"),
        ({"momentum": "1"}, "'momentum': 1"),
        ({"max_num_batches": "0"}, "'max_num_batches': 0"),
        ({"embed_dropout_source": "1"}, "'embed_dropout_source': 1"),
    ],
)
def test_hyperparameters_that_do_not_go_together_are_named(given: dict[str, str], words: str) -> None:
    with pytest.raises(HyperparameterError, match=re.escape(words)):
        parsed(**given)


# ---- requests -------------------------------------------------------------------------------------------------------


def asked(model: Seq2SeqModel, body: bytes, media: str = JSON, answer: str = JSON) -> Any:
    """What the server answers; a refusal is raised as it is before it has a status."""
    endpoint = Endpoint.of(Seq2Seq, model, Settings())
    return request._answer(Request(body, media, answer), endpoint)[0]


def test_each_format_says_the_same(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    model, _ = trained
    body = json.dumps({"instances": [{"data": "a b c"}, {"data": " c\td "}]}).encode()
    texts = [answer["target"] for answer in json.loads(asked(model, body))["predictions"]]
    assert texts == ["c b a", "d c"]
    lines = asked(model, b'{"source": "a b c"}\n{"source": "c d"}', JSON_LINES, JSON_LINES)
    assert [json.loads(line) for line in lines.splitlines()] == [{"target": text} for text in texts]
    ids = [model.source.ids(text) for text in ("a b c", "c d")]
    written = asked(model, encode(Pairs(Ragged.of(ids), Ragged.of([[], []]))), RECORDIO, RECORDIO)
    records = [Record.FromString(record) for record in frames(io.BytesIO(written), "answer")]
    found = [list(record.features["target"].int32_tensor.values) for record in records]
    assert [model.target.text(part) for part in found] == texts


def test_a_matrix_has_target_tokens_as_rows(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    model, _ = trained
    wanted = {"data": "a b c", "configuration": {"attention_matrix": "true"}}
    body = json.dumps({"instances": [wanted, {"data": "d"}]}).encode()
    first, second = json.loads(asked(model, body))["predictions"]
    assert np.shape(first["matrix"]) == (len(first["target"].split()), 3)
    np.testing.assert_allclose(np.sum(first["matrix"], axis=1), 1, atol=1e-4)
    assert "matrix" not in second
    with pytest.raises(PredictionError, match="attention matrix"):
        asked(model, body, JSON, JSON_LINES)


def test_a_blank_source_has_a_blank_target_and_refuses_no_other(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    """As Sockeye answers, which SageMaker's algorithm is made of."""
    model, _ = trained
    wanted = {"configuration": {"attention_matrix": "true"}}
    texts = ["", "a b c", "  ", "c d", ""]
    body = json.dumps({"instances": [{"data": text, **wanted} for text in texts]}).encode()
    found = json.loads(asked(model, body))["predictions"]
    alone = [json.loads(asked(model, json.dumps({"instances": [{"data": t}]}).encode()))["predictions"] for t in texts]
    assert [one["target"] for one in found] == [one["target"] for (one,) in alone]
    assert [one["target"] == "" and one["matrix"] == [] for one in found] == [True, False, True, False, True]
    ids = [model.source.ids(text) for text in texts]
    written = asked(model, encode(Pairs(Ragged.of(ids), Ragged.of([[]] * 5))), RECORDIO, RECORDIO)
    records = [Record.FromString(record) for record in frames(io.BytesIO(written), "answer")]
    answered = [model.target.text(list(one.features["target"].int32_tensor.values)) for one in records]
    assert answered == [one["target"] for one in found]


LONG = (
    (JSON, b'{"instances": [{"data": "' + b"a " * 101 + b'"}]}'),
    (RECORDIO, encode(Pairs(Ragged.of([[4] * 101]), Ragged.of([[]])))),
)
HOSTILE = [
    (JSON, b"{"),
    (JSON, b"[" * 100_000),
    (JSON, b'{"instances": ' + b"[" * 100_000),
    (JSON, b"[]"),
    (JSON, b"{}"),
    (JSON, b'{"instances": {}}'),
    (JSON, b'{"instances": []}'),
    (JSON, b'{"instances": [1]}'),
    (JSON, b'{"instances": [{"data": 1}]}'),
    (JSON, b'{"instances": [{"data": null}]}'),
    (JSON, b'{"instances": [{"data": "a", "configuration": []}]}'),
    (JSON, b'{"instances": [{"data": "a", "configuration": {"attention_matrix": []}}]}'),
    (JSON, b'{"instances": [{"data": "a", "configuration": {"attention_matrix": 1e400}}]}'),
    (JSON, b'{"instances": [{"features": [1]}]}'),
    (JSON, b"\xff\xfe"),
    (JSON, b"1" * 5000),
    (JSON_LINES, b"\n\n"),
    (JSON_LINES, b'{"source": "a"}\n{"target": "a"}'),
    (JSON_LINES, b'{"source": "a"}\nx'),
    (RECORDIO, b"x"),
    (RECORDIO, encode(Pairs(Ragged.of([[99]]), Ragged.of([[]])))),
    (RECORDIO, encode(Pairs(Ragged.of([[-1]]), Ragged.of([[]])))),
]


@pytest.mark.parametrize(("media", "body"), HOSTILE)
def test_hostile_requests_are_the_client_s_fault(
    trained: tuple[Seq2SeqModel, FakeJob], media: str, body: bytes
) -> None:
    with pytest.raises((DataError, PredictionError)):
        asked(trained[0], body, media)


def test_odd_words_are_unknown_words(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    for text in ("<s> </s> <pad>", "\\ud800 \\u0000", "ÿ\U0001f600", "x" * 100_000):
        assert json.loads(asked(trained[0], f'{{"instances": [{{"data": "{text}"}}]}}'.encode()))["predictions"]


# ---- the artifact ---------------------------------------------------------------------------------------------------


def test_files_that_do_not_fit_each_other_are_refused(trained: tuple[Seq2SeqModel, FakeJob], tmp_path: Path) -> None:
    trained[0].save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "config",
        "params.best",
        "vocab.src.json",
        "vocab.trg.json",
    ]
    config = json.loads((tmp_path / "config").read_text())
    for changed, words in (
        ({"beam_size": 0}, "beam_size is 0"),
        ({"architecture": {}}, "must be an object"),
        ({"architecture": config["architecture"] | {"rnn_num_hidden": 64}}, "instead of"),
        ({"architecture": config["architecture"] | {"rnn_num_hidden": 1 << 40}}, "rnn_num_hidden cannot be"),
        ({"architecture": config["architecture"] | {"rnn_cell_type": "tree"}}, "cannot be 'tree'"),
    ):
        (tmp_path / "config").write_text(json.dumps(config | changed))
        with pytest.raises(ModelError, match=words):
            Seq2Seq.load(tmp_path)
    (tmp_path / "config").write_text(json.dumps(config))
    (tmp_path / "vocab.src.json").write_text(Vocabulary.of(["a"]).to_json())
    with pytest.raises(ModelError, match="5 and 9 tokens"):
        Seq2Seq.load(tmp_path)


def test_serving_imports_no_keras(trained: tuple[Seq2SeqModel, FakeJob], tmp_path: Path) -> None:
    trained[0].save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from algorithms import registry\n"
        "model = registry.find('seq2seq').load(Path(sys.argv[1]))\n"
        "from algorithms.interface import Items\n"
        "print(len(model.predict(Items(['a b']))['target']))\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    count, *modules = done.stdout.split()
    assert count == "1"
    assert {"keras", "tensorflow", "jax", "sacrebleu", "pandas"}.isdisjoint(modules)


def test_over_http_an_answer_is_in_the_request_s_format(trained: tuple[Seq2SeqModel, FakeJob]) -> None:
    client = make_app(Endpoint.of(Seq2Seq, trained[0], Settings()), Settings()).test_client()
    bodies = {
        JSON: b'{"instances": [{"data": "a b"}]}',
        JSON_LINES: b'{"source": "a b"}',
        RECORDIO: encode(Pairs(Ragged.of([[4, 5]]), Ragged.of([[]]))),
    }
    for media, body in bodies.items():
        answer = client.post("/invocations", data=body, content_type=media)
        assert (answer.status_code, answer.mimetype) == (200, media)
        for wanted in bodies:
            other = client.post("/invocations", data=body, content_type=media, headers={"Accept": wanted})
            assert (other.status_code, other.mimetype) == (200, wanted)
    assert client.post("/invocations", data=b"a", content_type="text/csv").status_code == 415
    assert client.post("/invocations", data=bodies[JSON], headers={"Accept": "text/csv"}).status_code == 406
    for media, body in LONG:  # longer than max_seq_len_source: cut there, as in training
        assert client.post("/invocations", data=body, content_type=media).status_code == 200
    for media, body in HOSTILE:
        assert client.post("/invocations", data=body, content_type=media).status_code == 400


def test_records_that_are_cut_while_they_are_read_are_the_customers_error(tmp_path, monkeypatch):
    algorithm = registry.find("seq2seq")
    first = algorithm.configurations[0]
    job = OptMl(tmp_path).hyperparameters(dict(first.hyperparameters))
    for channel, (content_type, files) in samples.files(algorithm, first).items():
        times = 3000 if channel == "train" else 1
        job.channel(channel, {name: times * data for name, data in files.items()}, content_type)
    file = next(path for path in (tmp_path / "input" / "data" / "train").rglob("*") if path.is_file())
    whole, decode = file.stat().st_size, sequences._decode_block

    def cut(*given):
        os.truncate(file, whole // 2 + 2)
        return decode(*given)

    monkeypatch.setattr(sequences, "_decode_block", cut)
    monkeypatch.setattr(sequences, "_BLOCK", 100)
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    monkeypatch.setenv("ALGORITHM", "seq2seq")
    assert train([]) == 1
    failure = (tmp_path / "output" / "failure").read_text()
    assert failure.startswith("ClientError: "), failure
    assert file.name in failure
