"""Sequence to sequence on several hosts, which are threads here; ``tests/hosts`` has real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.checkpoints import NoCheckpoints
from algorithms.errors import ChannelError, TrainingStopped
from algorithms.hyperparameters import parse
from algorithms.interface import RECORDIO, Hosts
from algorithms.seq2seq import Seq2Seq
from algorithms.seq2seq.data import longest_ratio
from algorithms.seq2seq.model import Seq2SeqModel
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.errors import EmptyDataError
from recordio.sequences import Pairs, Ragged, encode
from recordio.shares import Share
from tests.algorithms.fakes import FakeJob, on_hosts
from tests.algorithms.samples import SEQ2SEQ, SEQ2SEQ_WORDS, Records, eagerly, records_of, seq2seq_pairs

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*You are using a softmax over axis -1")  # of one token

NOTHING = Pairs(Ragged.of([]), Ragged.of([]))
CONVOLUTIONS = SEQ2SEQ.hyperparameters


@pytest.fixture(autouse=True)
def _eagerly() -> Iterator[None]:
    with eagerly():
        yield


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    for name in ("vocab.src.json", "vocab.trg.json"):
        (tmp_path / name).write_text(Vocabulary.of(SEQ2SEQ_WORDS).to_json())
    return tmp_path


def fit(
    size: int, channels: Any, stop: dict[int, int] | None = None, checkpoints: Any = None, **given: object
) -> list[tuple[Seq2SeqModel, FakeJob]]:
    """(model, job) of each host; ``channels`` makes those of a host, and ``stop`` says after how many readings hosts
    are asked to stop."""
    values = parse(Seq2Seq.hyperparameters, CONVOLUTIONS | {name: str(value) for name, value in given.items()})

    def train(hosts: Hosts) -> tuple[Seq2SeqModel, FakeJob]:
        job = FakeJob(hosts=hosts, stop_after=(stop or {}).get(hosts.rank))
        job.checkpoints = checkpoints or NoCheckpoints()
        return Seq2Seq.fit(values, channels(hosts), job), job

    return on_hosts(size, train)


def replicated(vocab: Path, train: Pairs, validation: Pairs) -> Any:
    def channels(hosts: Hosts) -> dict[str, Any]:
        share = Share(hosts.rank, hosts.size)
        streams = {"train": train, "validation": validation}
        return {
            **{name: Records(records_of(encode(pairs)), RECORDIO, share=share) for name, pairs in streams.items()},
            "vocab": vocab,
        }

    return channels


def spread(vocab: Path, train: list[Pairs], validation: list[Pairs]) -> Any:
    def channels(hosts: Hosts) -> dict[str, Any]:
        streams = {"train": train[hosts.rank], "validation": validation[hosts.rank]}
        return {
            **{
                name: Records(records_of(encode(pairs)), RECORDIO, may_be_empty=True) for name, pairs in streams.items()
            },
            "vocab": vocab,
        }

    return channels


def assert_same(found: list[tuple[Seq2SeqModel, FakeJob]]) -> None:
    """All hosts have the same network, and have measured the same."""
    first, job = found[0]
    for model, other in found[1:]:
        for name, array in first.translator.parameters.items():
            np.testing.assert_array_equal(model.translator.parameters[name], array, err_msg=name)
        assert other.measured() == job.measured()
        assert other.messages == job.messages


def test_hosts_with_the_same_pairs_make_the_steps_of_one(vocab: Path) -> None:
    """To float error, of steps of as many pairs in all: buckets, learning rates, BLEU and what is best, too. The last
    batch of a bucket has fewer pairs than there are hosts."""
    channels = replicated(vocab, seq2seq_pairs(50, longest=14), seq2seq_pairs(13, 1, longest=14))
    given: dict[str, Any] = {"optimizer_type": "adam", "learning_rate": 0.02, "max_num_epochs": 2, "clip_gradient": 0.1}
    given |= {"bucket_width": 8, "weight_decay": 0.01, "checkpoint_frequency_num_batches": 2, "bleu_sample_size": 7}
    ((one, job),) = fit(1, channels, batch_size=24, training_metric="accuracy", **given)
    losses = job.values("validation", "perplexity")
    assert losses[-1] < 0.9 * losses[0]
    for size in (2, 3):
        several = fit(size, channels, batch_size=24 // size, training_metric="accuracy", **given)
        assert_same(several)
        assert several[0][1].values() == pytest.approx(job.values(), rel=1e-4, abs=1e-6)
        assert several[0][0].translator.ratio == one.translator.ratio
        for name, array in one.translator.parameters.items():
            np.testing.assert_allclose(several[0][0].translator.parameters[name], array, rtol=1e-3, atol=1e-5)


def test_recurrent_networks_of_two_hosts_make_the_steps_of_one(vocab: Path) -> None:
    """To float error, with pairs of unlike lengths: what a cell sees of padding is masked on each host alike."""
    channels = replicated(vocab, seq2seq_pairs(12, longest=9), seq2seq_pairs(5, 1, longest=9))
    given: dict[str, Any] = {"encoder_type": "rnn", "decoder_type": "rnn", "max_num_epochs": 1, "bleu_sample_size": 2}
    given |= {"optimizer_type": "sgd", "learning_rate": 0.1, "rnn_decoder_hidden_dropout": 0, "bucket_width": 10}
    ((one, job),) = fit(1, channels, batch_size=6, **given)
    several = fit(2, channels, batch_size=3, **given)
    assert_same(several)
    assert several[0][1].values() == pytest.approx(job.values(), rel=1e-4, abs=1e-6)
    for name, array in one.translator.parameters.items():
        np.testing.assert_allclose(several[0][0].translator.parameters[name], array, rtol=1e-4, atol=1e-6)


def test_a_host_without_pairs_and_two_with_unlike_numbers_and_lengths(vocab: Path) -> None:
    train = [NOTHING, seq2seq_pairs(5, 1, longest=3), seq2seq_pairs(40, 2, longest=12)]
    channels = spread(vocab, train, [seq2seq_pairs(9, 3), NOTHING, seq2seq_pairs(4, 4)])
    given: dict[str, Any] = {"batch_size": 8, "checkpoint_frequency_num_batches": 3, "bleu_sample_size": 6}
    found = fit(3, channels, cnn_hidden_dropout=0.3, optimized_metric="bleu", **given)
    assert_same(found)
    assert len(found[0][1].values("validation", "bleu")) >= 3
    together = Pairs(*(Ragged.of([*first, *second]) for first, second in zip(*train[1:], strict=True)))
    assert found[0][0].translator.ratio == pytest.approx(longest_ratio(together))


def test_what_hosts_cannot_train_on(vocab: Path, tmp_path: Path) -> None:
    some = seq2seq_pairs(8)
    with pytest.raises(EmptyDataError, match="train: there are no records"):
        fit(2, spread(vocab, [NOTHING, NOTHING], [some, some]))
    with pytest.raises(EmptyDataError, match="validation: there are no records"):
        fit(2, spread(vocab, [some, NOTHING], [NOTHING, NOTHING]))
    other = tmp_path / "other"
    other.mkdir()
    for name in ("vocab.src.json", "vocab.trg.json"):
        (other / name).write_text(Vocabulary.of(SEQ2SEQ_WORDS[::-1]).to_json())
    channels = replicated(vocab, some, some)
    with pytest.raises(ChannelError, match="the hosts have different vocabularies"):
        fit(2, lambda hosts: channels(hosts) | ({"vocab": other} if hosts.rank else {}))


class Offers:
    """Checkpoints that remember what they were offered."""

    def __init__(self) -> None:
        self.found: list[tuple[str, bool, bool]] = []

    def latest(self, *, alone: bool = False) -> None:
        return None

    def offer(self, make: Any, *, epoch_over: bool = False, alone: bool = False) -> None:
        made = make()
        self.found.append((made.position, made.state["done"], epoch_over))


def test_a_stop_of_one_host_ends_all_at_the_same_update(vocab: Path) -> None:
    channels = replicated(vocab, seq2seq_pairs(40), seq2seq_pairs(6, 1))
    with pytest.raises(TrainingStopped):
        fit(2, channels, batch_size=5, stop={1: 0})
    found = fit(2, channels, batch_size=5, stop={1: 6}, checkpoint_frequency_num_batches=3)
    assert_same(found)
    assert len(found[0][1].values("validation", "perplexity")) == 2


def test_a_stop_between_two_epochs_leaves_the_next_to_be_trained(vocab: Path) -> None:
    """It may come while the batches of an epoch are drawn: the epoch is not over then."""
    offers, channels = Offers(), replicated(vocab, seq2seq_pairs(40), seq2seq_pairs(6, 1))
    fit(1, channels, stop={0: 2}, checkpoints=offers, batch_size=20, bucketing_enabled="false", max_num_epochs=5)
    assert offers.found[-2:] == [("epoch 1", False, True), ("epoch 1", False, False)]
