"""The trained network in NumPy: it scores given targets, and translates. No Keras is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from algorithms.seq2seq import layers
from algorithms.seq2seq.architecture import Architecture
from algorithms.seq2seq.beam import Hypothesis, Step, search
from algorithms.seq2seq.data import Batch, sources
from algorithms.seq2seq.layers import NO_DROPS, Arrays, Memory, Source, loop_over_time
from recordio.limits import MOST_BEAM_NUMBERS, WIDEST_BEAM

_MOST_ROWS = 256
"""Most hypotheses that are decoded together: enough for efficient products, few enough for cache and memory."""


class Translator:
    """A network and its parameters.

    Args:
        ratio: the most target tokens for a source token; ``longest`` adds a few.
    """

    def __init__(self, architecture: Architecture, parameters: Mapping[str, np.ndarray], ratio: float) -> None:
        self.architecture = architecture
        self.parameters = dict(parameters)
        self.ratio = ratio

    @cached_property
    def _kernels(self) -> dict[str, np.ndarray]:
        laid = layers.laid_out(self.architecture, self.parameters)
        return layers.kernels(Arrays, self.architecture, laid)

    def encode(self, source: Source) -> Memory:
        """The encoded sources, for the decoder."""
        a, k = self.architecture, self._kernels
        encoded = layers.encode(Arrays, loop_over_time, a, k, source, NO_DROPS)
        return layers.remember(Arrays, a, k, encoded, source)

    def judge(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """(n,) negative log likelihood of each label of a batch, and (n,) whether it is the likeliest."""
        a, k = self.architecture, self._kernels
        memory = self.encode(batch.source)
        hidden = layers.decode_with_teacher(Arrays, loop_over_time, a, k, memory, batch.source, batch.target, NO_DROPS)
        scores = layers.score(Arrays, k, hidden.reshape(-1, a.decoder_width)[batch.places])
        highest = scores.max(axis=1)
        right = scores[np.arange(len(scores)), batch.labels]
        losses = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)) - right
        return losses, right == highest

    def longest(self, length: int) -> int:
        """The most tokens of the target of a source of ``length`` tokens: twice the spread of the training data above
        its mean, and five more, which matter for short ones."""
        return max(1, min(self.architecture.max_seq_len_target, int(np.ceil(self.ratio * length)) + 5))

    def translate(self, sequences: Sequence[np.ndarray], beam: int, *, weights: bool = False) -> list[Hypothesis]:
        """The likeliest target of each source, which has at least one token. The beam is narrower than ``beam``
        where that is above ``WIDEST_BEAM``, or would take more memory than ``MOST_BEAM_NUMBERS`` allows."""
        found: list[Hypothesis | None] = [None] * len(sequences)
        order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
        longest = max((len(sequence) for sequence in sequences), default=1)
        beam = min(beam, WIDEST_BEAM, max(1, MOST_BEAM_NUMBERS // self._numbers_of_a_row(longest)))
        size = max(1, _MOST_ROWS // beam)
        for at in range(0, len(order), size):
            numbers = order[at : at + size]
            group = self._translate([sequences[number] for number in numbers], beam, weights=weights)
            for number, hypothesis in zip(numbers, group, strict=True):
                hypothesis.weights = hypothesis.weights[:, : len(sequences[number])]
                found[number] = hypothesis
        return [hypothesis for hypothesis in found if hypothesis is not None]

    def _numbers_of_a_row(self, length: int) -> int:
        """The size of a step's arrays for each hypothesis: scores, in a few copies, the encoded source of ``length``
        tokens, and states."""
        a = self.architecture
        remembered = length * (2 * a.encoder_width + a.rnn_attention_num_hidden)
        layer = 8 * a.decoder_width * (a.cnn_kernel_width_decoder if a.decoder_type == "cnn" else 1)
        return 4 * a.target_vocabulary + remembered + layer * a.num_layers_decoder

    def _translate(self, sequences: Sequence[np.ndarray], beam: int, *, weights: bool) -> list[Hypothesis]:
        source = sources(sequences)
        memory = self.encode(source)
        limits = np.array([self.longest(int(length)) for length in source.lengths])
        decoder: _RecurrentDecoder | _ConvolutionalDecoder
        if self.architecture.decoder_type == "rnn":
            decoder = _RecurrentDecoder(self.architecture, self._kernels, memory, source)
        else:
            decoder = _ConvolutionalDecoder(self.architecture, self._kernels, memory)
        return search(decoder, decoder.first_states(), limits, beam, keep_weights=weights)


def _rows(memory: Memory, rows: np.ndarray) -> Memory:
    """The memory of each of ``rows``."""
    keys = memory.keys[rows]
    values = keys if memory.values is memory.keys else memory.values[rows]
    return Memory(values, keys, memory.bias[rows], memory.last[rows])


class _Recall:
    """Keeps the memory of the rows of the last step, as the rows change only when a sentence is done."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rows = np.zeros(0, np.int64)
        self._recalled = memory

    def of(self, rows: np.ndarray) -> Memory:
        if not np.array_equal(rows, self._rows):
            self._rows, self._recalled = rows, _rows(self._memory, rows)
        return self._recalled


class _RecurrentDecoder:
    """A ``beam.Decoder``."""

    def __init__(self, a: Architecture, k: dict[str, np.ndarray], memory: Memory, source: Source) -> None:
        self._a, self._k, self._memory, self._source = a, k, memory, source
        self._recall = _Recall(memory)

    def first_states(self) -> list[np.ndarray]:
        """Before the first token."""
        return layers.first_states(Arrays, self._a, self._k, self._memory, self._source)

    def __call__(self, tokens: np.ndarray, states: list[np.ndarray], sentences: np.ndarray) -> Step:
        projected = layers.project_target(Arrays, self._k, tokens)
        memory = self._recall.of(sentences)
        vector, states, weights = layers.recurrent_step(Arrays, self._a, self._k, memory, projected, states)
        return Step(layers.score(Arrays, self._k, vector), weights, states)


class _ConvolutionalDecoder:
    """A ``beam.Decoder``. A state is how many tokens there were, then the last inputs of each convolution."""

    def __init__(self, a: Architecture, k: dict[str, np.ndarray], memory: Memory) -> None:
        self._a, self._k, self._memory = a, k, memory
        self._recall = _Recall(memory)

    def first_states(self) -> list[np.ndarray]:
        """Before the first token."""
        count, a = len(self._memory.last), self._a
        before = np.zeros((count, a.cnn_kernel_width_decoder - 1, a.cnn_num_hidden), np.float32)
        return [np.zeros(count, np.int64), *([before] * a.num_layers_decoder)]

    def __call__(self, tokens: np.ndarray, states: list[np.ndarray], sentences: np.ndarray) -> Step:
        a, k = self._a, self._k
        memory = self._recall.of(sentences)
        place, new = states[0], [states[0] + 1]
        embedded = k["target_embed_weight"][tokens] + k["target_pos_embed_weight"][place]
        hidden, total = layers.dense(Arrays, embedded, k["decoder_i2h_weight"]), 0
        for layer in range(a.num_layers_decoder):
            windows = np.concatenate([states[1 + layer], hidden[:, None]], axis=1)
            new.append(windows[:, 1:])
            seen = layers.window(Arrays, a, k, f"decoder_{layer}_", windows.reshape(len(windows), -1))
            context, weights = layers.attend_to_all(Arrays, seen[:, None], memory)
            hidden = hidden + seen + context[:, 0]
            total = total + weights[:, 0] / a.num_layers_decoder  # shown is the mean of the layers
        return Step(layers.score(Arrays, k, hidden), np.asarray(total), new)
