"""The network that is trained and the one that answers say the same, for every kind of encoder and decoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from algorithms import hyperparameters
from algorithms.seq2seq import Seq2Seq, data
from algorithms.seq2seq.architecture import Architecture, initial, shapes
from algorithms.seq2seq.beam import Step, _top, search
from algorithms.seq2seq.evaluation import judge
from algorithms.seq2seq.layers import Arrays, kernels, laid_out, parameters_of
from algorithms.seq2seq.schedule import Rate
from algorithms.seq2seq.translator import Translator
from algorithms.seq2seq.vocabulary import BEGIN, END, PAD
from recordio.limits import WIDEST_BEAM
from recordio.sequences import Pairs, Ragged

SMALL = {
    "num_embed_source": "6",
    "num_embed_target": "5",
    "rnn_num_hidden": "8",
    "cnn_num_hidden": "8",
    "max_seq_len_source": "12",
    "max_seq_len_target": "12",
}


def architecture(**given: str) -> Architecture:
    values = hyperparameters.parse(Seq2Seq.hyperparameters, SMALL | given)
    return Architecture.of(values, source_vocabulary=11, target_vocabulary=9)


def parameters(shape: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    found = initial(shape, random, kind="xavier", scale=3.0, factor="in")
    return {
        name: random.normal(0, 0.3, value.shape).astype(np.float32) if name.endswith("bias") else value
        for name, value in found.items()
    }


def translator(seed: int = 0, **given: str) -> Translator:
    shape = architecture(**given)
    return Translator(shape, parameters(shape, seed), ratio=2.0)


def pairs(count: int = 7, seed: int = 0) -> Pairs:
    random = np.random.default_rng(seed)
    source = [random.integers(4, 11, random.integers(1, 9)) for _ in range(count)]
    target = [random.integers(4, 9, random.integers(1, 9)) for _ in range(count)]
    return Pairs(Ragged.of(source), Ragged.of(target))


def kinds() -> Iterator[dict[str, str]]:
    deep = {"num_layers_encoder": "3", "num_layers_decoder": "3"}
    for cell, attention in itertools.product(("lstm", "gru"), ("mlp", "dot", "bilinear", "fixed")):
        yield {"rnn_cell_type": cell, "rnn_attention_type": attention}
        yield {
            "rnn_cell_type": cell,
            "rnn_attention_type": attention,
            "rnn_attention_num_hidden": "4",
            "rnn_residual_connections": "true",
            "rnn_attention_in_upper_layers": "false" if cell == "gru" else "true",
            **deep,
        }
    for init in ("avg", "zero"):
        yield {"rnn_decoder_state_init": init}
    for activation in ("glu", "relu", "softrelu", "sigmoid", "tanh"):
        yield {"encoder_type": "cnn", "decoder_type": "cnn", "cnn_activation_type": activation, **deep}
    yield {"encoder_type": "cnn", "cnn_num_hidden": "6", "cnn_kernel_width_encoder": "4"}
    yield {"decoder_type": "cnn", "cnn_num_hidden": "6", "cnn_kernel_width_decoder": "1"}


KINDS = [pytest.param(kind, id=",".join(kind.values())) for kind in kinds()]


@pytest.mark.parametrize("kind", KINDS)
def test_keras_and_numpy_agree(kind: dict[str, str]) -> None:
    from algorithms.common.networks import load_keras

    load_keras(0)
    from algorithms.seq2seq import network

    ours = translator(**kind)
    batch = data.batch(pairs(), np.arange(7))
    trained = network.Network(ours.architecture, ours.parameters, {}, seed=0)
    scores = np.array(trained(batch.inputs))
    logs = scores - scores.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    losses, right = ours.judge(batch)
    np.testing.assert_allclose(losses, -logs[np.arange(len(logs)), batch.labels], rtol=1e-4, atol=1e-4)
    assert (right == (scores.argmax(axis=1) == batch.labels)).mean() > 0.99
    assert all(np.array_equal(value, ours.parameters[name]) for name, value in trained.named_arrays().items())


@pytest.mark.parametrize("kind", [{"num_layers_encoder": "2", "num_layers_decoder": "2"}, {"rnn_cell_type": "gru"}])
def test_gradients_are_the_loss_s_own_differences(kind: dict[str, str]) -> None:
    """Central differences of NumPy's loss in float64, along a random direction of each parameter."""
    from algorithms.common.networks import load_keras, to_numpy

    keras = load_keras(0)
    from algorithms.common.gradients import Kept, Vector
    from algorithms.seq2seq import network

    ours, batch = translator(**kind), data.batch(pairs(), np.arange(7))
    trained, kept = network.Network(ours.architecture, ours.parameters, {}, seed=0), Kept()
    kept.build(trained.trainable_variables)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    trained.compile(kept, loss=loss)
    trained.learn(batch)
    shaped = Vector([tuple(variable.shape) for variable in trained.trainable_variables])
    found = dict(zip(trained.names, shaped.parts(to_numpy(kept.gradients)), strict=True))

    exact = {name: value.astype(np.float64) for name, value in ours.parameters.items()}
    random = np.random.default_rng(1)
    for name, gradient in parameters_of(ours.architecture, found).items():
        direction = random.normal(size=gradient.shape)
        ends = (exact | {name: exact[name] + step * direction} for step in (1e-5, -1e-5))
        above, below = (Translator(ours.architecture, end, 2.0).judge(batch)[0].mean() for end in ends)
        assert (above - below) / 2e-5 == pytest.approx((gradient * direction).sum(), rel=1e-3, abs=1e-5), name


def test_tables_of_few_words_change_nothing() -> None:
    ours, batch = translator(), data.batch(pairs(), np.arange(7))
    plain = translator()
    plain.__dict__["_kernels"] = kernels(
        Arrays, ours.architecture, laid_out(ours.architecture, ours.parameters), tables=False
    )
    assert not any(name.endswith("table") for name in plain._kernels)
    np.testing.assert_allclose(ours.judge(batch)[0], plain.judge(batch)[0], rtol=1e-5)
    many = architecture()
    assert sum(name.endswith("table") for name in kernels(Arrays, many, laid_out(many, ours.parameters))) == 3


def test_batches_of_all_shapes_are_one_program() -> None:
    from algorithms.common.networks import load_keras

    load_keras(0)
    from algorithms.seq2seq import network

    traced = []

    class Counted(network.Network):
        def call(self, inputs: tuple[Any, ...]) -> Any:
            traced.append(len(inputs))
            return super().call(inputs)

    ours = translator()
    trained = Counted(ours.architecture, ours.parameters, {}, seed=0)
    network.prepare(trained, network.make_optimizer(hyperparameters.parse(Seq2Seq.hyperparameters, {})), accuracy=False)
    for numbers in ([0, 1, 2], [3], [4, 5, 6, 0, 1]):
        batch = data.batch(pairs(), np.array(numbers))
        expected = ours.judge(batch)[0].mean() if not traced else None
        loss = trained.learn(batch)["loss"]
        assert expected is None or loss == pytest.approx(expected, rel=1e-4)
    assert len(traced) == 1


@pytest.mark.parametrize("rate", ["embed_dropout_source", "embed_dropout_target"])
def test_few_words_are_dropped_too(rate: str) -> None:
    from algorithms.common.networks import load_keras, to_numpy

    load_keras(0)
    from algorithms.seq2seq import network

    ours, batch = translator(), data.batch(pairs(), np.arange(7))
    trained = network.Network(ours.architecture, ours.parameters, {rate: 0.5}, seed=0)
    first, second = (to_numpy(trained(batch.inputs)) for _ in range(2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_equals_all_at_once(kind: dict[str, str]) -> None:
    """The score of a hypothesis is the likelihood that the teacher's pass gives its tokens."""
    ours = translator(**kind)
    source = list(pairs().source)
    for hypothesis, ids in zip(ours.translate(source, 3, weights=True), source, strict=True):
        pair = Pairs(Ragged.of([ids]), Ragged.of([hypothesis.tokens]))
        losses, _ = ours.judge(data.batch(pair, np.arange(1)))
        whole = len(hypothesis.tokens) < ours.longest(len(ids))
        total = losses.sum() if whole else losses[:-1].sum()
        assert hypothesis.score * (len(hypothesis.tokens) + whole) == pytest.approx(-total, abs=1e-3)
        assert hypothesis.weights.shape == (len(hypothesis.tokens), len(ids))
        if len(hypothesis.tokens):
            np.testing.assert_allclose(hypothesis.weights.sum(axis=1), 1, atol=1e-4)


def test_a_sentence_is_translated_alone_as_among_others() -> None:
    for kind in ({}, {"encoder_type": "cnn", "decoder_type": "cnn"}):
        ours = translator(**kind)
        source = list(pairs(20).source)
        together = ours.translate(source, 4)
        for ids, hypothesis in zip(source, together, strict=True):
            alone = ours.translate([ids], 4)[0]
            assert alone.score == pytest.approx(hypothesis.score, abs=1e-5)
            assert alone.tokens.tolist() == hypothesis.tokens.tolist()


def test_perplexity_and_accuracy_by_hand() -> None:
    """With weights of zero all is as likely as the biases say: tokens 4 and </s> half each of what there is."""
    shape = architecture()
    zero = {name: np.zeros(sizes, np.float32) for name, sizes in shapes(shape).items()}
    zero["target_output_bias"][:] = -50
    zero["target_output_bias"][4] = math.log(3)
    zero["target_output_bias"][END] = 0.0
    ours = Translator(shape, zero, ratio=1.0)
    held_out = Pairs(Ragged.of([[5, 6], [7]]), Ragged.of([[4, 4], [4]]))
    scores = judge(ours, held_out)
    mean = -(3 * math.log(3 / 4) + 2 * math.log(1 / 4)) / 5
    assert scores["perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(3 / 5)


# ---- beam search ----------------------------------------------------------------------------------------------------

VOCABULARY = 6  # the four symbols and two words


class Toy:
    """A decoder whose scores depend on all that was said so far: a state is the history as one number."""

    def __init__(self, seed: int) -> None:
        self._scores = np.random.default_rng(seed).normal(0, 2, (2, 4**6, VOCABULARY)).astype(np.float32)

    def __call__(self, tokens: np.ndarray, states: list[np.ndarray], sentences: np.ndarray) -> Step:
        said = {BEGIN: 0, 4: 2, 5: 3}
        history = (states[0] * 4 + np.array([said.get(int(token), 1) for token in tokens])) % 4**6
        return Step(self._scores[sentences, history].copy(), np.zeros((len(tokens), 1)), [history])

    def log_probability(self, sentence: int, words: list[int]) -> float:
        total, states, last = 0.0, [np.zeros(1, np.int64)], BEGIN
        for word in [*words, END]:
            step = self(np.array([last]), states, np.array([sentence]))
            scores = step.scores[0].astype(float)
            total += scores[word] - np.log(np.exp(scores).sum())
            states, last = step.states, word
        return total


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_what_trying_all_finds(seed: int) -> None:
    toy, limit = Toy(seed), 5
    found = search(toy, [np.zeros(2, np.int64)], np.array([limit, limit]), 500)
    for sentence, hypothesis in enumerate(found):
        every = [words for length in range(limit) for words in itertools.product((1, 4, 5), repeat=length)]
        scores = {words: toy.log_probability(sentence, list(words)) / (len(words) + 1) for words in every}
        best = max(scores, key=scores.__getitem__)
        if len(hypothesis.tokens) < limit:
            assert tuple(hypothesis.tokens.tolist()) == best
            assert hypothesis.score == pytest.approx(scores[best], rel=1e-5)
        else:  # it was cut at the limit, and is better than all that ended
            assert hypothesis.score >= scores[best]


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    toy, limit = Toy(seed), 6
    found = search(toy, [np.zeros(2, np.int64)], np.array([limit, limit]), 1)
    for sentence, hypothesis in enumerate(found):
        words: list[int] = []
        states, last = [np.zeros(1, np.int64)], BEGIN
        while len(words) < limit:
            step = toy(np.array([last]), states, np.array([sentence]))
            scores = step.scores[0]
            scores[[PAD, BEGIN]] = -np.inf
            last, states = int(scores.argmax()), step.states
            if last == END:
                break
            words.append(last)
        assert hypothesis.tokens.tolist() == words


def test_a_beam_wider_than_any_use_is_narrowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's file may state any width; memory alone had room for 300,000 hypotheses of this small vocabulary."""
    asked = []

    def watched(*args: Any, **more: Any) -> Any:
        asked.append(args[3])
        return search(*args[:3], 2, **more)

    monkeypatch.setattr("algorithms.seq2seq.translator.search", watched)
    translator().translate([np.array([4, 5])], 2_000_000_000)
    assert asked == [WIDEST_BEAM]


@pytest.mark.parametrize("size", [10, 64, 700, 5003])
def test_the_largest_are_found_in_any_vocabulary(size: int) -> None:
    scores = np.random.default_rng(size).normal(size=(7, size)).astype(np.float32)
    found = np.take_along_axis(scores, _top(scores, 5), axis=1)
    assert np.array_equal(np.sort(found, axis=1), np.sort(scores, axis=1)[:, -5:])


def test_limits_are_each_sentence_s_own() -> None:
    toy = Toy(0)
    toy._scores[:, :, END] = -20
    found = search(toy, [np.zeros(2, np.int64)], np.array([2, 5]), 3)
    assert [len(hypothesis.tokens) for hypothesis in found] == [2, 5]


def test_a_decoder_that_says_nothing_gives_an_empty_target() -> None:
    def broken(tokens: np.ndarray, states: list[np.ndarray], sentences: np.ndarray) -> Step:
        return Step(np.full((len(tokens), VOCABULARY), np.nan, np.float32), np.zeros((len(tokens), 1)), states)

    with np.errstate(invalid="ignore"):
        (found,) = search(broken, [np.zeros(1, np.int64)], np.array([4]), 3)
    assert found.tokens.tolist() == []


# ---- data, rates ----------------------------------------------------------------------------------------------------


def test_a_batch_has_what_the_teacher_says() -> None:
    pair = Pairs(Ragged.of([[7, 8, 9], [5]]), Ragged.of([[4], [6, 7]]))
    batch = data.batch(pair, np.array([0, 1]))
    assert batch.source.ids.tolist() == [[7, 8, 9], [5, PAD, PAD]]
    assert batch.source.reverse.tolist() == [[2, 1, 0], [0, 1, 2]]
    assert batch.target.tolist() == [[BEGIN, 4, PAD], [BEGIN, 6, 7]]
    assert batch.places.tolist() == [0, 1, 3, 4, 5]
    assert batch.labels.tolist() == [4, END, 6, 7, END]
    fixed = data.batch(pair, np.array([0, 1]), step=4, size=3)
    assert fixed.source.ids.shape == fixed.target.shape == (3, 4)
    assert fixed.weights.sum() == 5
    assert fixed.labels[fixed.weights > 0].tolist() == batch.labels.tolist()


def test_every_pair_is_in_one_batch_of_an_epoch_and_of_its_bucket() -> None:
    many = pairs(200)
    groups = data.buckets(many, 3)
    chosen = data.epoch(many, groups, 16, np.random.default_rng(0), by_length=True)
    assert sorted(np.concatenate(chosen).tolist()) == list(range(200))
    longest = np.maximum(many.source.lengths, many.target.lengths + 1)
    assert all(len(set(((longest[numbers] + 2) // 3).tolist())) == 1 for numbers in chosen)


def test_long_sequences_are_cut() -> None:
    cut = data.cut(Ragged.of([[1, 2, 3, 4], [], [5, 6, 7]]), 2)
    assert [part.tolist() for part in cut] == [[1, 2], [], [5, 6]]


def test_rates_are_half_after_their_half_life() -> None:
    base = {"learning_rate": "0.4", "fixed_rate_lr_half_life": "5", "checkpoint_frequency_num_batches": "100"}
    for kind in ("fixed_rate_inv_t", "fixed_rate_inv_sqrt_t"):
        rate = Rate(hyperparameters.parse(Seq2Seq.hyperparameters, base | {"lr_scheduler_type": kind}))
        assert rate.at(0) == pytest.approx(0.4)
        assert rate.at(500) == pytest.approx(0.2)


def test_a_plateau_lowers_the_rate() -> None:
    values = {"learning_rate": "0.4", "plateau_reduce_lr_threshold": "2", "plateau_reduce_lr_factor": "0.1"}
    rate = Rate(hyperparameters.parse(Seq2Seq.hyperparameters, values))
    told = [rate.checkpoint(improved=improved) for improved in (False, True, False, False, False, False)]
    assert [bool(sentence) for sentence in told] == [False, False, False, True, False, True]
    assert rate.at(1000) == pytest.approx(0.004)
