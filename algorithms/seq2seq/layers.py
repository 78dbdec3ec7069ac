"""The layers of the networks, written once for training and for serving.

Every function takes ``ops``: ``keras.ops`` in training, ``Arrays`` in serving. So the two cannot differ. Shapes: B
sentences, S source tokens, T target tokens, H hidden units.

Sources: D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR
2015 (mlp attention). M.-T. Luong, H. Pham, C. Manning, "Effective Approaches to Attention-based Neural Machine
Translation", EMNLP 2015 (dot and bilinear; feeding the attentional vector). J. Gehring et al., "Convolutional Sequence
to Sequence Learning", ICML 2017. F. Hieber et al., "Sockeye: A Toolkit for Neural Machine Translation", 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit

from algorithms.seq2seq.architecture import GATES, STATES, Architecture, shapes

MASKED = -1e9
"""A score so low that softmax makes it 0."""
FEW_WORDS = 128
"""Most words of a small vocabulary, as of letters or phonemes. Even the smallest batches of tuning jobs have more
tokens."""

Parameters = Mapping[str, Any]
Step = Callable[[Any, Any, list[Any]], tuple[Any, list[Any]]]
"""``output, states' = step(kernel, inputs[:, t], states)``"""
Multiplied = Callable[[Any], Any]
Loop = Callable[[Step, Any, list[Any], Any, Multiplied | None], Any]
"""``loop(step, inputs, states, kernel, multiplied)`` takes ``step`` for each t and gives its outputs, (B, T, ...).

If a step adds a product with ``kernel``, (K, N), to the first N of its inputs, ``multiplied`` computes from the outputs
what the kernel is multiplied with in each step, (B, T, K). The gradient of the kernel is then one product for all
steps. A kernel of n layers is (n, K, N), and B has the rows of all layers one after the other. A step passes the kernel
that it is given to ``product``.
"""


class Drops:
    """Dropout at the places that have it; here there is none, as when a model answers."""

    def embedded_source(self, values: Any) -> Any:
        """After the embeddings of the source."""
        return values

    def embedded_target(self, values: Any) -> Any:
        """After those of the target."""
        return values

    def convolved(self, values: Any) -> Any:
        """Before each convolution."""
        return values

    def mask(self, like: Any, width: int) -> Any:
        """For the RNN decoder's output and context, (B, T, width) where ``like`` is (B, T, ...); None without."""
        return None


NO_DROPS = Drops()


class Arrays:
    """Those functions of ``keras.ops`` that the layers use, on NumPy's arrays."""

    matmul, tanh, concatenate, reshape = np.matmul, np.tanh, np.concatenate, np.reshape
    transpose, pad, sum, zeros_like = np.transpose, np.pad, np.sum, np.zeros_like
    sigmoid, arange, shape = expit, np.arange, np.shape
    expand_dims, squeeze, swapaxes, repeat = np.expand_dims, np.squeeze, np.swapaxes, np.repeat

    @staticmethod
    def take(values: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
        """As ``keras.ops.take``."""
        return np.take(values, indices, axis=axis)

    @staticmethod
    def split(values: np.ndarray, parts: int | list[int], axis: int) -> list[np.ndarray]:
        """As ``keras.ops.split``."""
        return np.split(values, parts, axis=axis)

    @staticmethod
    def relu(values: np.ndarray) -> np.ndarray:
        """As ``keras.ops.relu``."""
        return np.maximum(values, 0)

    @staticmethod
    def softplus(values: np.ndarray) -> np.ndarray:
        """As ``keras.ops.softplus``: MXNet's softrelu."""
        return np.logaddexp(values, np.float32(0))

    @staticmethod
    def softmax(scores: np.ndarray) -> np.ndarray:
        """As ``keras.ops.softmax``, over the last axis."""
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


def loop_over_time(
    step: Step, inputs: np.ndarray, states: list[np.ndarray], kernel: np.ndarray, multiplied: Multiplied | None
) -> np.ndarray:
    """``Loop`` on arrays, which have no gradients."""
    outputs = []
    for time in range(inputs.shape[1]):
        output, states = step(kernel, inputs[:, time], states)
        outputs.append(output)
    return np.stack(outputs, axis=1)


def times(ops: Any, values: Any) -> Any:
    """T of (B, T, ...), which a traced graph may learn only when it runs."""
    return values.shape[1] if isinstance(values, np.ndarray) else ops.shape(values)[1]


def pick(ops: Any, values: Any, places: Any) -> Any:
    """The values at given places of each sentence: ``values[b, places[b, k]]``, (B, K, ...) of (B, T, ...).

    They are taken as rows of all sentences together: Keras' ``take_along_axis``, and its gradient, take one number at a
    time.
    """
    count, length = ops.shape(values)[:2]
    first = ops.expand_dims(ops.arange(count, dtype="int32") * length, 1)
    return ops.take(ops.reshape(values, (-1, *values.shape[2:])), first + places, axis=0)


def dense(ops: Any, values: Any, kernel: Any, bias: Any = None) -> Any:
    """``values @ kernel + bias``."""
    result = ops.matmul(values, kernel)
    return result if bias is None else result + bias


def product(ops: Any, values: Any, kernel: Any) -> Any:
    """``values @ kernel``, where a loop may have its own way to it (see ``Loop``)."""
    return kernel(values) if callable(kernel) else ops.matmul(values, kernel)


def laid_out(a: Architecture, p: Parameters) -> dict[str, np.ndarray]:
    """The parameters in the layout of the matrix products, in which a network trains them, so that no step converts
    them.

    Matrices are (inputs, outputs); a convolution is such a matrix on its windows. The matrix of the decoder's first
    recurrent layer is split in two: ``target`` for the embeddings, which are multiplied for all steps at once, and the
    part for inputs that depend on the step. In an LSTM this part and the recurrent matrix are one, ``fused``.
    """
    found = {name: _inputs_first(name, value) for name, value in p.items()}
    if a.decoder_type == "rnn":
        first = "decoder_rnn_l0_i2h_weight"
        found["decoder_rnn_l0_target"], found[first] = np.split(found[first], [a.num_embed_target])
        for prefix in _fused_layers(a):
            parts = [found.pop(f"{prefix}{part}_weight") for part in ("i2h", "h2h")]
            found[f"{prefix}fused"] = np.concatenate(parts)
    return {name: np.ascontiguousarray(value) for name, value in found.items()}


def parameters_of(a: Architecture, laid: Parameters) -> dict[str, np.ndarray]:
    """The parameters of which ``laid_out`` made ``laid``."""
    found = dict(laid)
    if a.decoder_type == "rnn":
        for prefix in _fused_layers(a):
            parts = np.split(found.pop(f"{prefix}fused"), [-a.rnn_num_hidden])
            found[f"{prefix}i2h_weight"], found[f"{prefix}h2h_weight"] = parts
        first = "decoder_rnn_l0_i2h_weight"
        found[first] = np.concatenate([found.pop("decoder_rnn_l0_target"), found[first]])
    return {name: _outputs_first(name, found[name], shape) for name, shape in shapes(a).items()}


def _inputs_first(name: str, value: np.ndarray) -> np.ndarray:
    if name.endswith("embed_weight") or value.ndim == 1:
        return value
    return value.transpose(2, 1, 0).reshape(-1, len(value)) if value.ndim == 3 else value.T


def _outputs_first(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("embed_weight") or len(shape) == 1:
        return value
    turned = value.reshape(shape[::-1]).transpose(2, 1, 0) if len(shape) == 3 else value.T
    return np.ascontiguousarray(turned)


def _fused_layers(a: Architecture) -> list[str]:
    count = a.num_layers_decoder if a.rnn_cell_type == "lstm" else 0
    return [f"decoder_rnn_l{layer}_" for layer in range(count)]


def kernels(ops: Any, a: Architecture, laid: Parameters, *, tables: bool = True) -> dict[str, Any]:
    """``laid_out``'s parameters, with what can be computed from them once, before the steps of a loop.

    The two biases of an LSTM are added. With ``tables`` and a vocabulary of at most ``FEW_WORDS``, ``table``, (V,
    gates), has each word's contribution to the gates of the first recurrent layer: a batch has more tokens than there
    are words.
    """
    found = dict(laid)
    if a.rnn_cell_type == "lstm":
        for name in [name for name in found if name.endswith("h2h_bias")]:
            prefix = name.removesuffix("h2h_bias")
            found[f"{prefix}i2h_bias"] = found[f"{prefix}i2h_bias"] + found[name]
    firsts = []
    if a.encoder_type == "rnn" and a.source_vocabulary <= FEW_WORDS:
        firsts += [(f"encoder_birnn_{way}_l0_", "i2h_weight", "source_embed_weight") for way in ("forward", "reverse")]
    if a.decoder_type == "rnn" and a.target_vocabulary <= FEW_WORDS:
        firsts.append(("decoder_rnn_l0_", "target", "target_embed_weight"))
    for prefix, weight, embedding in firsts if tables else ():
        bias = found[f"{prefix}i2h_bias"]
        found[f"{prefix}table"] = dense(ops, found[embedding], found[f"{prefix}{weight}"], bias)
    return found


# ---- recurrent ------------------------------------------------------------------------------------------------------


def lstm(ops: Any, gates: Any, states: list[Any]) -> list[Any]:
    """New output and memory, from the gates before their activations, (B, 4 H)."""
    into, forget, candidate, out = ops.split(gates, 4, axis=-1)
    memory = ops.sigmoid(forget) * states[1] + ops.sigmoid(into) * ops.tanh(candidate)
    return [ops.sigmoid(out) * ops.tanh(memory), memory]


def gru(ops: Any, inputs: Any, recurrent: Any, states: list[Any]) -> list[Any]:
    """The new output, from the contributions of the input and of the last output to the gates, (B, 3 H) each."""
    reset_x, update_x, candidate_x = ops.split(inputs, 3, axis=-1)
    reset_h, update_h, candidate_h = ops.split(recurrent, 3, axis=-1)
    update = ops.sigmoid(update_x + update_h)
    candidate = ops.tanh(candidate_x + ops.sigmoid(reset_x + reset_h) * candidate_h)
    return [(1 - update) * candidate + update * states[0]]


def zeros(ops: Any, like: Any, width: int, count: int) -> list[Any]:
    """``count`` states of zeros, (B, width); ``like`` is (B, ...)."""
    column = ops.zeros_like(like[:, 0, :1] if len(like.shape) == 3 else like[:, :1])
    return [ops.repeat(column, width, axis=1)] * count


def _recurrent(ops: Any, loop: Loop, a: Architecture, k: Parameters, given: Mapping[str, Any]) -> Any:
    """The outputs of n recurrent layers of one size, (n B, T, H), those of the first layer first.

    ``given`` has the contributions of the layers' inputs to their gates, (B, T, gates), by prefix. One loop computes
    all layers, as its steps cost more than their products.
    """
    projected, ways = ops.concatenate(list(given.values()), axis=0), len(given)
    kernel = ops.concatenate([ops.expand_dims(k[f"{prefix}h2h_weight"], 0) for prefix in given], axis=0)
    bias = ops.concatenate([ops.reshape(k[f"{prefix}h2h_bias"], (1, 1, -1)) for prefix in given], axis=0)
    width, gates = kernel.shape[1:]
    first = zeros(ops, projected, width, STATES[a.rnn_cell_type])

    def step(kernel: Any, now: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        recurrent = product(ops, ops.reshape(states[0], (ways, -1, width)), kernel)
        if a.rnn_cell_type == "lstm":
            states = lstm(ops, now + ops.reshape(recurrent, (-1, gates)), states)
        else:
            states = gru(ops, now, ops.reshape(recurrent + bias, (-1, gates)), states)
        return states[0], states

    multiplied = partial(_before, ops, first[0]) if a.rnn_cell_type == "lstm" else None
    return loop(step, projected, first, kernel, multiplied)


def _before(ops: Any, first: Any, outputs: Any) -> Any:
    """The state before each step, (B, T, N): ``first``, (B, N), and then the outputs but the last."""
    return ops.concatenate([first[:, None], outputs[:, :-1]], axis=1)


# ---- encoders -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Source sentences of different lengths, padded at their ends.

    Attributes:
        ids: (B, S) int32.
        lengths: (B,) int32.
        reverse: (B, S) int32, positions that reverse each sentence and leave its padding in place.
        mask: (B, S) float32, 1 for tokens and 0 for padding.
    """

    ids: Any
    lengths: Any
    reverse: Any
    mask: Any


def encode(ops: Any, loop: Loop, a: Architecture, k: Parameters, source: Source, drops: Drops) -> Any:
    """The encoder's output for each source token, (B, S, H of the encoder); arbitrary numbers for padding."""
    if a.encoder_type == "cnn":
        embedded = _embedded_source(ops, k, source, drops)
        embedded = embedded + k["source_pos_embed_weight"][: times(ops, embedded)]
        hidden = dense(ops, embedded, k["encoder_cnn_i2h_weight"])
        for layer in range(a.num_layers_encoder):
            masked = drops.convolved(hidden) * source.mask[:, :, None]
            before = (a.cnn_kernel_width_encoder - 1) // 2
            hidden = hidden + convolve(
                ops, a, k, f"encoder_cnn_{layer}_", masked, before, a.cnn_kernel_width_encoder - 1 - before
            )
        return hidden
    forward, reverse = ops.split(_recurrent(ops, loop, a, k, _both_ways(ops, k, source, drops)), 2, axis=0)
    hidden = ops.concatenate([forward, pick(ops, reverse, source.reverse)], axis=-1)
    for layer in range(1, a.num_layers_encoder):
        prefix = f"encoder_rnn_l{layer - 1}_"
        projected = dense(ops, hidden, k[f"{prefix}i2h_weight"], k[f"{prefix}i2h_bias"])
        above = _recurrent(ops, loop, a, k, {prefix: projected})
        hidden = above + hidden if a.is_residual(layer) else above
    return hidden


def _embedded_source(ops: Any, k: Parameters, source: Source, drops: Drops) -> Any:
    return drops.embedded_source(ops.take(k["source_embed_weight"], source.ids, axis=0))


def _both_ways(ops: Any, k: Parameters, source: Source, drops: Drops) -> dict[str, Any]:
    """The contributions of the source to the gates of the first layer, (B, S, gates), read forwards and backwards."""
    forward, reverse = (f"encoder_birnn_{way}_l0_" for way in ("forward", "reverse"))
    if f"{forward}table" in k:
        ids = {forward: source.ids, reverse: pick(ops, source.ids, source.reverse)}
        return {prefix: ops.take(k[f"{prefix}table"], some, axis=0) for prefix, some in ids.items()}
    embedded = _embedded_source(ops, k, source, drops)
    given = {forward: embedded, reverse: pick(ops, embedded, source.reverse)}
    return {
        prefix: dense(ops, some, k[f"{prefix}i2h_weight"], k[f"{prefix}i2h_bias"]) for prefix, some in given.items()
    }


def convolve(ops: Any, a: Architecture, k: Parameters, prefix: str, values: Any, before: int, after: int) -> Any:
    """One convolution over time and its activation, as one product; ``values`` is (B, T, H), and so is the result."""
    padded = ops.pad(values, [(0, 0), (before, after), (0, 0)])
    width = before + after + 1
    length = times(ops, values)
    windows = ops.concatenate([padded[:, at : at + length] for at in range(width)], axis=-1)
    return window(ops, a, k, prefix, windows)


def window(ops: Any, a: Architecture, k: Parameters, prefix: str, windows: Any) -> Any:
    """The convolution at places whose neighbourhood, (..., width H), is at hand."""
    result = dense(ops, windows, k[f"{prefix}conv_weight"], k[f"{prefix}conv_bias"])
    if a.cnn_activation_type == "glu":
        value, gate = ops.split(result, 2, axis=-1)
        return value * ops.sigmoid(gate)
    name = {"softrelu": "softplus"}.get(a.cnn_activation_type, a.cnn_activation_type)
    return getattr(ops, name)(result)


# ---- attention ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to: a batch of encoded sources.

    Attributes:
        values: (B, S, H) encoded.
        keys: (B, S, A), what queries are compared with.
        bias: (B, S), added to scores: 0 for tokens, ``MASKED`` for padding.
        last: (B, H), the encoded last token.
    """

    values: Any
    keys: Any
    bias: Any
    last: Any


def remember(ops: Any, a: Architecture, k: Parameters, encoded: Any, source: Source) -> Memory:
    """The memory of an encoded source."""
    keys = encoded
    names = {"mlp": "att_e2h_weight", "bilinear": "att_s2t_weight", "dot": "att_s2h_weight"}
    name = "decoder_e2h_weight" if a.decoder_type == "cnn" else names.get(a.rnn_attention_type, "")
    if name in k:
        keys = dense(ops, encoded, k[name])
    if a.decoder_type == "cnn":  # it adds what it sees to its own states, which are as wide as its keys
        encoded = keys
    last = ops.squeeze(pick(ops, encoded, ops.expand_dims(source.lengths - 1, 1)), 1)
    return Memory(encoded, keys, (1 - source.mask) * MASKED, last)


def attend(ops: Any, a: Architecture, k: Parameters, query: Any, memory: Memory) -> tuple[Any, Any]:
    """Context, (B, H), and the weights of the source tokens, (B, S), for a query of an RNN decoder, (B, H).

    ``fixed`` attention always gives the last token.
    """
    if a.rnn_attention_type == "fixed":
        weights = ops.softmax(memory.bias + _is_last(ops, memory.bias) * -MASKED)
        return memory.last, weights
    if a.rnn_attention_type == "mlp":
        hidden = ops.tanh(memory.keys + ops.expand_dims(dense(ops, query, k["att_q2h_weight"]), 1))
        scores = ops.squeeze(ops.matmul(hidden, k["att_h2s_weight"]), 2)
    else:
        if "att_t2h_weight" in k:
            query = dense(ops, query, k["att_t2h_weight"])
        scores = ops.squeeze(ops.matmul(memory.keys, ops.expand_dims(query, 2)), 2)
    weights = ops.softmax(scores + memory.bias)
    return ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), memory.values), 1), weights


def _is_last(ops: Any, bias: Any) -> Any:
    """(B, S): 1 at the last place that is not masked; ``bias`` rises from 0 to ``MASKED`` at most once."""
    beyond = ops.pad(bias[:, 1:], [(0, 0), (0, 1)], constant_values=MASKED)
    return (beyond - bias) / MASKED


# ---- decoders -------------------------------------------------------------------------------------------------------


def first_states(ops: Any, a: Architecture, k: Parameters, memory: Memory, source: Source) -> list[Any]:
    """The states of an RNN decoder before the first token: the attentional vector, then those of its layers."""
    count = a.num_layers_decoder * STATES[a.rnn_cell_type]
    states = zeros(ops, memory.last, a.rnn_num_hidden, 1 + count)
    if a.rnn_decoder_state_init == "zero":
        return states
    start = memory.last
    if a.rnn_decoder_state_init == "avg":
        start = ops.sum(memory.values * source.mask[:, :, None], axis=1) / ops.sum(source.mask, axis=1)[:, None]
    for number in range(count):
        prefix = f"decoder_rnn_enc2decinit_{number}_"
        states[1 + number] = ops.tanh(dense(ops, start, k[f"{prefix}weight"], k[f"{prefix}bias"]))
    return states


def project_target(ops: Any, k: Parameters, target: Any, drops: Drops = NO_DROPS) -> Any:
    """The contribution of target tokens to the gates of the first RNN layer; in training of all steps at once."""
    if "decoder_rnn_l0_table" in k:
        return ops.take(k["decoder_rnn_l0_table"], target, axis=0)
    embedded = drops.embedded_target(ops.take(k["target_embed_weight"], target, axis=0))
    return dense(ops, embedded, k["decoder_rnn_l0_target"], k["decoder_rnn_l0_i2h_bias"])


def recurrent_step(
    ops: Any, a: Architecture, k: Parameters, memory: Memory, projected: Any, states: list[Any], keep: Any = None
) -> tuple[Any, list[Any], Any]:
    """One step of an RNN decoder: the attentional vector, (B, H), new states, weights of the source, (B, S).

    ``keep`` is the dropout mask of output and context, (B, H + H of the encoder).
    """
    per_layer = STATES[a.rnn_cell_type]
    layers = [states[1 + i : 1 + i + per_layer] for i in range(0, len(states) - 1, per_layer)]
    output, context, weights, new = states[0], None, None, []
    for layer in range(a.num_layers_decoder):
        inputs = output if context is None else ops.concatenate([output, context], axis=-1)
        given = projected if layer == 0 else k[f"decoder_rnn_l{layer}_i2h_bias"]
        changed = _decoder_cell(ops, a, k, f"decoder_rnn_l{layer}_", given, inputs, layers[layer])
        output = changed[0] + output if a.is_residual(layer) else changed[0]
        new += changed
        if layer + 1 == a.layers_below_attention:
            context, weights = attend(ops, a, k, output, memory)
    joined = ops.concatenate([output, context], axis=-1)
    joined = joined if keep is None else joined * keep
    vector = ops.tanh(dense(ops, joined, k["decoder_rnn_hidden_weight"], k["decoder_rnn_hidden_bias"]))
    return vector, [vector, *new], weights


def _decoder_cell(
    ops: Any, a: Architecture, k: Parameters, prefix: str, given: Any, inputs: Any, states: list[Any]
) -> list[Any]:
    if a.rnn_cell_type == "lstm":
        both = ops.concatenate([inputs, states[0]], axis=-1)
        return lstm(ops, given + product(ops, both, k[f"{prefix}fused"]), states)
    recurrent = dense(ops, states[0], k[f"{prefix}h2h_weight"], k[f"{prefix}h2h_bias"])
    return gru(ops, given + ops.matmul(inputs, k[f"{prefix}i2h_weight"]), recurrent, states)


def attend_to_all(ops: Any, queries: Any, memory: Memory) -> tuple[Any, Any]:
    """Contexts, (B, T, H), and weights, (B, T, S), of a CNN decoder's queries, (B, T, H)."""
    scores = ops.matmul(queries, ops.swapaxes(memory.keys, 1, 2)) + memory.bias[:, None, :]
    weights = ops.softmax(scores)
    return ops.matmul(weights, memory.values), weights


def decode_with_teacher(
    ops: Any,
    loop: Loop,
    a: Architecture,
    k: Parameters,
    memory: Memory,
    source: Source,
    target: Any,
    drops: Drops,
) -> Any:
    """The decoder's output, (B, T, H of the decoder), for known target tokens: ``target``, (B, T), begins with
    ``<s>``."""
    if a.decoder_type == "rnn":
        inputs, width = project_target(ops, k, target, drops), GATES[a.rnn_cell_type] * a.rnn_num_hidden
        keep = drops.mask(inputs, a.rnn_num_hidden + a.encoder_width)
        if keep is not None:  # the loop has one input
            inputs = ops.concatenate([inputs, keep], axis=-1)

        first = first_states(ops, a, k, memory, source)
        name = "decoder_rnn_l0_fused" if a.rnn_cell_type == "lstm" else "decoder_rnn_l0_i2h_weight"

        def step(kernel: Any, now: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            given, kept = (now, None) if keep is None else (now[:, :width], now[:, width:])
            _, states, _ = recurrent_step(ops, a, {**k, name: kernel}, memory, given, states, kept)
            return ops.concatenate(states[:2], axis=-1), states

        both = ops.concatenate(first[:2], axis=-1)
        multiplied = partial(_before, ops, both) if a.rnn_cell_type == "lstm" else None
        outputs = loop(step, inputs, first, k[name], multiplied)
        return ops.split(outputs, [a.rnn_num_hidden], axis=-1)[0]  # whose gradient takes a third of a slice's time
    embedded = drops.embedded_target(ops.take(k["target_embed_weight"], target, axis=0))
    embedded = embedded + k["target_pos_embed_weight"][: times(ops, embedded)]
    hidden = dense(ops, embedded, k["decoder_i2h_weight"])
    for layer in range(a.num_layers_decoder):
        seen = convolve(ops, a, k, f"decoder_{layer}_", drops.convolved(hidden), a.cnn_kernel_width_decoder - 1, 0)
        hidden = hidden + seen + attend_to_all(ops, seen, memory)[0]
    return hidden


def score(ops: Any, k: Parameters, hidden: Any) -> Any:
    """Scores of the target vocabulary before softmax, (..., V)."""
    return dense(ops, hidden, k["target_output_weight"], k["target_output_bias"])
