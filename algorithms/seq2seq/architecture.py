"""What a network looks like: its sizes, and the names and shapes of its parameters.

Names and layouts are Sockeye 1.x's, so that ``params.best`` holds what its users know: matrices are (outputs, inputs),
the gates of an LSTM are stacked as input, forget, candidate, output, those of a GRU as reset, update, candidate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

GATES = {"lstm": 4, "gru": 3}
STATES = {"lstm": 2, "gru": 1}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes and kinds; the fields are the hyperparameters of these names, and the sizes of the vocabularies."""

    source_vocabulary: int
    target_vocabulary: int
    encoder_type: str
    decoder_type: str
    num_layers_encoder: int
    num_layers_decoder: int
    num_embed_source: int
    num_embed_target: int
    rnn_num_hidden: int
    rnn_cell_type: str
    rnn_residual_connections: bool
    rnn_first_residual_layer: int
    rnn_attention_type: str
    rnn_attention_num_hidden: int
    rnn_attention_in_upper_layers: bool
    rnn_decoder_state_init: str
    cnn_num_hidden: int
    cnn_activation_type: str
    cnn_kernel_width_encoder: int
    cnn_kernel_width_decoder: int
    max_seq_len_source: int
    max_seq_len_target: int

    @property
    def encoder_width(self) -> int:
        """Numbers that the encoder gives for each source token."""
        return self.rnn_num_hidden if self.encoder_type == "rnn" else self.cnn_num_hidden

    @property
    def decoder_width(self) -> int:
        """Numbers that the decoder gives for each target token."""
        return self.rnn_num_hidden if self.decoder_type == "rnn" else self.cnn_num_hidden

    @property
    def layers_below_attention(self) -> int:
        """Number of RNN layers of the decoder that make the query of attention; those above it get the context as
        input, too."""
        upper = self.rnn_attention_in_upper_layers and self.num_layers_decoder > 1
        return 1 if upper else self.num_layers_decoder

    @property
    def positions_target(self) -> int:
        """The longest target, with the symbol that begins or ends it."""
        return self.max_seq_len_target + 1

    def is_residual(self, layer: int) -> bool:
        """Whether the input of RNN layer ``layer``, counted from 0, is added to its output."""
        return self.rnn_residual_connections and layer > 0 and layer + 1 >= self.rnn_first_residual_layer

    @classmethod
    def of(cls, values: Any, *, source_vocabulary: int, target_vocabulary: int) -> Architecture:
        """From hyperparameters."""
        own = {field.name for field in dataclasses.fields(cls)} - {"source_vocabulary", "target_vocabulary"}
        chosen = {name: getattr(values, name) for name in own}
        if chosen["rnn_attention_num_hidden"] == "rnn_num_hidden":
            chosen["rnn_attention_num_hidden"] = values.rnn_num_hidden
        return cls(source_vocabulary=source_vocabulary, target_vocabulary=target_vocabulary, **chosen)


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by its name, in order of use."""
    found: dict[str, tuple[int, ...]] = {
        "source_embed_weight": (architecture.source_vocabulary, architecture.num_embed_source),
        "target_embed_weight": (architecture.target_vocabulary, architecture.num_embed_target),
    }
    encoder = _rnn_encoder if architecture.encoder_type == "rnn" else _cnn_encoder
    decoder = _rnn_decoder if architecture.decoder_type == "rnn" else _cnn_decoder
    found |= encoder(architecture) | decoder(architecture)
    found["target_output_weight"] = (architecture.target_vocabulary, architecture.decoder_width)
    found["target_output_bias"] = (architecture.target_vocabulary,)
    return found


def parameter_count(architecture: Architecture) -> int:
    """The number of parameters. Every layer from the third on has as many as the one before it, so that those of a
    billion layers are counted without a list."""
    few = {name: min(getattr(architecture, name), 2) for name in ("num_layers_encoder", "num_layers_decoder")}
    base = _count(dataclasses.replace(architecture, **few))
    count = base
    for name, kept in few.items():
        more = getattr(architecture, name) - kept
        if more:
            count += more * (_count(dataclasses.replace(architecture, **{**few, name: 3})) - base)
    return count


def _count(architecture: Architecture) -> int:
    return sum(math.prod(shape) for shape in shapes(architecture).values())


def _cell(architecture: Architecture, prefix: str, inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    gates = GATES[architecture.rnn_cell_type] * hidden
    return {
        f"{prefix}i2h_weight": (gates, inputs),
        f"{prefix}i2h_bias": (gates,),
        f"{prefix}h2h_weight": (gates, hidden),
        f"{prefix}h2h_bias": (gates,),
    }


def _rnn_encoder(a: Architecture) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for direction in ("forward", "reverse"):
        found |= _cell(a, f"encoder_birnn_{direction}_l0_", a.num_embed_source, a.rnn_num_hidden // 2)
    for layer in range(1, a.num_layers_encoder):
        found |= _cell(a, f"encoder_rnn_l{layer - 1}_", a.rnn_num_hidden, a.rnn_num_hidden)
    return found


def _convolutions(prefix: str, layers: int, width: int, a: Architecture) -> dict[str, tuple[int, ...]]:
    outputs = a.cnn_num_hidden * (2 if a.cnn_activation_type == "glu" else 1)
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        found[f"{prefix}{layer}_conv_weight"] = (outputs, a.cnn_num_hidden, width)
        found[f"{prefix}{layer}_conv_bias"] = (outputs,)
    return found


def _cnn_encoder(a: Architecture) -> dict[str, tuple[int, ...]]:
    return {
        "source_pos_embed_weight": (a.max_seq_len_source, a.num_embed_source),
        "encoder_cnn_i2h_weight": (a.cnn_num_hidden, a.num_embed_source),
        **_convolutions("encoder_cnn_", a.num_layers_encoder, a.cnn_kernel_width_encoder, a),
    }


def _cnn_decoder(a: Architecture) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    if a.encoder_width != a.cnn_num_hidden:  # Sockeye demands that they are equal
        found["decoder_e2h_weight"] = (a.cnn_num_hidden, a.encoder_width)
    return {
        **found,
        "target_pos_embed_weight": (a.positions_target, a.num_embed_target),
        "decoder_i2h_weight": (a.cnn_num_hidden, a.num_embed_target),
        **_convolutions("decoder_", a.num_layers_decoder, a.cnn_kernel_width_decoder, a),
    }


def _rnn_decoder(a: Architecture) -> dict[str, tuple[int, ...]]:
    hidden, below = a.rnn_num_hidden, a.layers_below_attention
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(a.num_layers_decoder):
        inputs = a.num_embed_target + hidden if layer == 0 else hidden
        inputs += a.encoder_width if layer >= below else 0
        found |= _cell(a, f"decoder_rnn_l{layer}_", inputs, hidden)
    found |= _attention(a)
    if a.rnn_decoder_state_init != "zero":
        for state in range(a.num_layers_decoder * STATES[a.rnn_cell_type]):
            found[f"decoder_rnn_enc2decinit_{state}_weight"] = (hidden, a.encoder_width)
            found[f"decoder_rnn_enc2decinit_{state}_bias"] = (hidden,)
    found["decoder_rnn_hidden_weight"] = (hidden, hidden + a.encoder_width)
    found["decoder_rnn_hidden_bias"] = (hidden,)
    return found


def _attention(a: Architecture) -> dict[str, tuple[int, ...]]:
    source, query, hidden = a.encoder_width, a.rnn_num_hidden, a.rnn_attention_num_hidden
    if a.rnn_attention_type == "mlp":
        return {
            "att_e2h_weight": (hidden, source),
            "att_q2h_weight": (hidden, query),
            "att_h2s_weight": (1, hidden),
        }
    if a.rnn_attention_type == "bilinear":
        return {"att_s2t_weight": (query, source)}
    if a.rnn_attention_type == "dot":
        found: dict[str, tuple[int, ...]] = {}
        if source != hidden:
            found["att_s2h_weight"] = (hidden, source)
        if query != hidden:
            found["att_t2h_weight"] = (hidden, query)
        return found
    return {}


def initial(
    architecture: Architecture, random: np.random.Generator, *, kind: str, scale: float, factor: str
) -> dict[str, np.ndarray]:
    """Random parameters, float32, by name.

    ``uniform`` draws from plus and minus ``scale``. ``xavier`` draws from plus and minus sqrt(scale / fan), where the
    fan is that of the inputs, the outputs, or their average, as ``factor`` says (MXNet's ``Xavier`` with magnitude
    ``scale``; X. Glorot, Y. Bengio, AISTATS 2010). What a recurrent layer makes of its last output is orthogonal, gate
    by gate, as in Sockeye. Biases are 0, but those of forget gates 1, so that a cell remembers at first (R. Jozefowicz,
    W. Zaremba, I. Sutskever, ICML 2015).

    Xavier's rule is for matrix products, and an embedding is none: by that rule words would begin ten times too close
    together for a gate to tell them apart. Embeddings that a recurrent layer reads are drawn from N(0, 1) instead, with
    which perplexity on pairs of sentences falls in half of the updates. For convolutions, whose inputs are scaled, the
    rule is better.
    """
    found = {}
    for name, shape in shapes(architecture).items():
        if name.endswith("bias"):
            found[name] = np.zeros(shape, np.float32)
            if name.endswith("i2h_bias") and architecture.rnn_cell_type == "lstm":
                found[name][shape[0] // 4 : shape[0] // 2] = 1
        elif kind == "xavier" and _is_read_by_rnn(architecture, name):
            found[name] = random.normal(size=shape).astype(np.float32)
        elif name.endswith("h2h_weight"):
            blocks = [_orthogonal(shape[1], random) for _ in range(shape[0] // shape[1])]
            found[name] = np.concatenate(blocks).astype(np.float32)
        else:
            bound = abs(scale) if kind == "uniform" else np.sqrt(abs(scale) / _fan(shape, factor))
            found[name] = random.uniform(-bound, bound, shape).astype(np.float32)
    return found


def _is_read_by_rnn(a: Architecture, name: str) -> bool:
    readers = {"source_embed_weight": a.encoder_type, "target_embed_weight": a.decoder_type}
    return readers.get(name) == "rnn"


def _orthogonal(size: int, random: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(random.normal(size=(size, size)))
    return q * np.sign(np.diag(r))  # evenly over all of them


def _fan(shape: tuple[int, ...], factor: str) -> float:
    window = float(np.prod(shape[2:]))
    fans = {"in": shape[1] * window, "out": shape[0] * window}
    return fans.get(factor, (fans["in"] + fans["out"]) / 2)


def check(architecture: Architecture, found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A sentence for each parameter that is missing, unknown, or of another shape; ``found`` has the shapes by name."""
    wanted = shapes(architecture)
    problems = [f"'{name}' is missing" for name in wanted if name not in found]
    problems += [f"'{name}' is unknown" for name in found if name not in wanted]
    for name, shape in wanted.items():
        if name in found and found[name] != shape:
            problems.append(f"'{name}' has the shape {found[name]} instead of {shape}")
    return problems
