"""The layers of the networks, written once for training and for serving.

Every function takes ``ops``: ``keras.ops`` where a network is trained, ``Arrays`` where a model answers, and so the
two cannot come to differ. Shapes: B sentences, S source tokens, T target tokens, H hidden units.

Sources: D. Bahdanau, K. Cho, Y. Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR
2015 (mlp attention). M.-T. Luong, H. Pham, C. Manning, "Effective Approaches to Attention-based Neural Machine
Translation", EMNLP 2015 (dot and bilinear; feeding the attentional vector). J. Gehring et al., "Convolutional Sequence
to Sequence Learning", ICML 2017. F. Hieber et al., "Sockeye: A Toolkit for Neural Machine Translation", 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from algorithms.seq2seq.architecture import GATES, STATES, Architecture

MASKED = -1e9
"""A score so low that softmax makes it 0."""

Parameters = Mapping[str, Any]
Loop = Callable[[Callable[[Any, list[Any]], tuple[Any, list[Any]]], Any, list[Any]], Any]
"""``loop(step, inputs, states)`` calls ``states' = step(inputs[:, t], states)`` for each t and gives (B, T, H)."""


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
    sigmoid = expit
    take_along_axis, swapaxes, repeat = np.take_along_axis, np.swapaxes, np.repeat

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


def loop_over_time(step: Callable[..., Any], inputs: np.ndarray, states: list[np.ndarray]) -> np.ndarray:
    """``Loop`` on arrays."""
    outputs = []
    for time in range(inputs.shape[1]):
        output, states = step(inputs[:, time], states)
        outputs.append(output)
    return np.stack(outputs, axis=1)


def times(ops: Any, values: Any) -> Any:
    """T of (B, T, ...), which a traced graph may learn only when it runs."""
    return values.shape[1] if isinstance(values, np.ndarray) else ops.shape(values)[1]


def dense(ops: Any, values: Any, kernel: Any, bias: Any = None) -> Any:
    """``values @ kernel + bias``."""
    result = ops.matmul(values, kernel)
    return result if bias is None else result + bias


def kernels(ops: Any, a: Architecture, p: Parameters) -> dict[str, Any]:
    """The parameters as the products want them, made once so that no step of a loop makes them again.

    Matrices are (inputs, outputs), and convolutions are such matrices of their windows. Both parts of an LSTM's
    product that depend on the step are one matrix (``_fused``), and so are its two biases.
    """
    found: dict[str, Any] = {}
    for name, value in p.items():
        if name.endswith("embed_weight") or len(value.shape) == 1:
            found[name] = value
        elif len(value.shape) == 3:
            found[name] = ops.reshape(ops.transpose(value, (2, 1, 0)), (-1, value.shape[0]))
        else:
            found[name] = ops.transpose(value)
    if "decoder_rnn_l0_i2h_weight" in found:
        whole = found["decoder_rnn_l0_i2h_weight"]  # not two slices, whose gradients are summed
        parts = ops.split(whole, [a.num_embed_target], axis=0)
        found["decoder_rnn_l0_target"], found["decoder_rnn_l0_i2h_weight"] = parts
    if a.rnn_cell_type == "lstm":
        for name in [name for name in found if name.endswith("h2h_bias")]:
            prefix = name.removesuffix("h2h_bias")
            found[f"{prefix}i2h_bias"] = found[f"{prefix}i2h_bias"] + found[name]
            if prefix.startswith("decoder"):
                both = [found[f"{prefix}i2h_weight"], found[f"{prefix}h2h_weight"]]
                found[f"{prefix}fused"] = ops.concatenate(both, axis=0)
    return found


# ---- recurrent ------------------------------------------------------------------------------------------------------


def lstm(ops: Any, gates: Any, states: list[Any]) -> list[Any]:
    """New output and memory, from the gates before their activations, (B, 4 H)."""
    into, forget, candidate, out = ops.split(gates, 4, axis=-1)
    memory = ops.sigmoid(forget) * states[1] + ops.sigmoid(into) * ops.tanh(candidate)
    return [ops.sigmoid(out) * ops.tanh(memory), memory]


def gru(ops: Any, inputs: Any, recurrent: Any, states: list[Any]) -> list[Any]:
    """The new output, from the shares of the input and of the last output in the gates, (B, 3 H) each."""
    reset_x, update_x, candidate_x = ops.split(inputs, 3, axis=-1)
    reset_h, update_h, candidate_h = ops.split(recurrent, 3, axis=-1)
    update = ops.sigmoid(update_x + update_h)
    candidate = ops.tanh(candidate_x + ops.sigmoid(reset_x + reset_h) * candidate_h)
    return [(1 - update) * candidate + update * states[0]]


def zeros(ops: Any, like: Any, width: int, count: int) -> list[Any]:
    """``count`` states of zeros, (B, width); ``like`` is (B, ...)."""
    column = ops.zeros_like(like[:, 0, :1] if len(like.shape) == 3 else like[:, :1])
    return [ops.repeat(column, width, axis=1)] * count


def _recurrent(ops: Any, loop: Loop, a: Architecture, k: Parameters, prefix: str, inputs: Any, width: int) -> Any:
    projected = dense(ops, inputs, k[f"{prefix}i2h_weight"], k[f"{prefix}i2h_bias"])
    kernel, bias = k[f"{prefix}h2h_weight"], k[f"{prefix}h2h_bias"]

    def step(now: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        recurrent = ops.matmul(states[0], kernel)
        if a.rnn_cell_type == "lstm":
            states = lstm(ops, now + recurrent, states)
        else:
            states = gru(ops, now, recurrent + bias, states)
        return states[0], states

    return loop(step, projected, zeros(ops, inputs, width, STATES[a.rnn_cell_type]))


# ---- encoders -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """Source sentences of different lengths, filled up at their ends.

    Attributes:
        ids: (B, S) int32. lengths: (B,) int32. reverse: (B, S) int32, positions that turn each sentence around and
            leave what fills it up in place. mask: (B, S) float32, 1 for tokens and 0 for what fills up.
    """

    ids: Any
    lengths: Any
    reverse: Any
    mask: Any


def encode(ops: Any, loop: Loop, a: Architecture, k: Parameters, source: Source, drops: Drops) -> Any:
    """(B, S, H of the encoder): what the encoder makes of each source token; anything beyond a sentence's end."""
    embedded = drops.embedded_source(ops.take(k["source_embed_weight"], source.ids, axis=0))
    if a.encoder_type == "cnn":
        embedded = embedded + k["source_pos_embed_weight"][: times(ops, embedded)]
        hidden = dense(ops, embedded, k["encoder_cnn_i2h_weight"])
        for layer in range(a.num_layers_encoder):
            masked = drops.convolved(hidden) * source.mask[:, :, None]
            before = (a.cnn_kernel_width_encoder - 1) // 2
            hidden = hidden + convolve(
                ops, a, k, f"encoder_cnn_{layer}_", masked, before, a.cnn_kernel_width_encoder - 1 - before
            )
        return hidden
    half, turn = a.rnn_num_hidden // 2, source.reverse[:, :, None]
    forward = _recurrent(ops, loop, a, k, "encoder_birnn_forward_l0_", embedded, half)
    turned = ops.take_along_axis(embedded, turn, axis=1)
    reverse = _recurrent(ops, loop, a, k, "encoder_birnn_reverse_l0_", turned, half)
    hidden = ops.concatenate([forward, ops.take_along_axis(reverse, turn, axis=1)], axis=-1)
    for layer in range(1, a.num_layers_encoder):
        above = _recurrent(ops, loop, a, k, f"encoder_rnn_l{layer - 1}_", hidden, a.rnn_num_hidden)
        hidden = above + hidden if a.is_residual(layer) else above
    return hidden


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
    """What the decoder looks at of a batch of sources.

    Attributes:
        values: (B, S, H) encoded. keys: (B, S, A) what queries are compared with. bias: (B, S), 0 for tokens and
            ``MASKED`` beyond. last: (B, H), encoded, of the last token.
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
    last = ops.take_along_axis(encoded, source.lengths[:, None, None] - 1, axis=1)[:, 0]
    return Memory(encoded, keys, (1 - source.mask) * MASKED, last)


def attend(ops: Any, a: Architecture, k: Parameters, query: Any, memory: Memory) -> tuple[Any, Any]:
    """Context, (B, H), and the weights of the source tokens, (B, S), for a query of an RNN decoder, (B, H).

    ``fixed`` looks at the last token, whatever the query.
    """
    if a.rnn_attention_type == "fixed":
        weights = ops.softmax(memory.bias + _is_last(ops, memory.bias) * -MASKED)
        return memory.last, weights
    if a.rnn_attention_type == "mlp":
        hidden = ops.tanh(memory.keys + dense(ops, query, k["att_q2h_weight"])[:, None, :])
        scores = ops.matmul(hidden, k["att_h2s_weight"])[:, :, 0]
    else:
        if "att_t2h_weight" in k:
            query = dense(ops, query, k["att_t2h_weight"])
        scores = ops.matmul(memory.keys, query[:, :, None])[:, :, 0]
    weights = ops.softmax(scores + memory.bias)
    return ops.matmul(weights[:, None, :], memory.values)[:, 0], weights


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


def project_target(ops: Any, k: Parameters, embedded: Any) -> Any:
    """The share of the embedded target in the gates of the first RNN layer; for all steps at once in training."""
    return dense(ops, embedded, k["decoder_rnn_l0_target"], k["decoder_rnn_l0_i2h_bias"])


def recurrent_step(
    ops: Any, a: Architecture, k: Parameters, memory: Memory, projected: Any, states: list[Any], keep: Any = None
) -> tuple[Any, list[Any], Any]:
    """One step of an RNN decoder: the attentional vector, (B, H), new states, weights of the source, (B, S).

    ``keep`` is what dropout multiplies output and context with, (B, H + H of the encoder).
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
        return lstm(ops, given + ops.matmul(both, k[f"{prefix}fused"]), states)
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
    """(B, T, H of the decoder) for target tokens that are known: ``target``, (B, T), begins with ``<s>``."""
    embedded = drops.embedded_target(ops.take(k["target_embed_weight"], target, axis=0))
    if a.decoder_type == "rnn":
        inputs, width = project_target(ops, k, embedded), GATES[a.rnn_cell_type] * a.rnn_num_hidden
        keep = drops.mask(inputs, a.rnn_num_hidden + a.encoder_width)
        if keep is not None:  # the loop has one input
            inputs = ops.concatenate([inputs, keep], axis=-1)

        def step(now: Any, states: list[Any]) -> tuple[Any, list[Any]]:
            kept = None if keep is None else now[:, width:]
            return recurrent_step(ops, a, k, memory, now[:, :width], states, kept)[:2]

        return loop(step, inputs, first_states(ops, a, k, memory, source))
    embedded = embedded + k["target_pos_embed_weight"][: times(ops, embedded)]
    hidden = dense(ops, embedded, k["decoder_i2h_weight"])
    for layer in range(a.num_layers_decoder):
        seen = convolve(ops, a, k, f"decoder_{layer}_", drops.convolved(hidden), a.cnn_kernel_width_decoder - 1, 0)
        hidden = hidden + seen + attend_to_all(ops, seen, memory)[0]
    return hidden


def score(ops: Any, k: Parameters, hidden: Any) -> Any:
    """Scores of the target vocabulary before softmax, (..., V)."""
    return dense(ops, hidden, k["target_output_weight"], k["target_output_bias"])
