"""The parameters of sequence to sequence in real MXNet 1.9.1: they open there, and its own cells compute what we do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from algorithms import hyperparameters
from algorithms.seq2seq import Seq2Seq, data
from algorithms.seq2seq.architecture import Architecture, initial, shapes
from algorithms.seq2seq.layers import (
    NO_DROPS,
    Arrays,
    encode,
    first_states,
    kernels,
    laid_out,
    loop_over_time,
    remember,
)
from algorithms.seq2seq.model import Seq2SeqModel
from algorithms.seq2seq.translator import Translator
from algorithms.seq2seq.vocabulary import Vocabulary
from tests.interop.environments import python_of, run_in_mxnet

pytestmark = pytest.mark.slow

SOURCE = np.array([4, 6, 5, 7, 4], np.int32)

PROGRAM = """
import sys
import numpy as np, mxnet as mx
folder, cell = sys.argv[1:]
saved = mx.nd.load(folder + "/params.best")
p = {name.split(":")[1]: value for name, value in saved.items()}
assert all(name.startswith("arg:") for name in saved)
ids = mx.nd.array(np.load(folder + "/source.npy"))
embedded = mx.nd.Embedding(ids, p["source_embed_weight"], *p["source_embed_weight"].shape)


def unroll(prefix, rows):
    hidden = p[prefix + "h2h_weight"].shape[1]
    kind = {"lstm": mx.rnn.LSTMCell, "gru": mx.rnn.GRUCell}[cell]
    data = mx.sym.Variable("data")
    outputs, _ = kind(hidden, prefix=prefix).unroll(len(rows), data, layout="NTC", merge_outputs=True)
    values = {name: p[name] for name in outputs.list_arguments() if name in p}
    states = {name: mx.nd.zeros((1, hidden)) for name in outputs.list_arguments() if "begin_state" in name}
    bound = outputs.bind(mx.cpu(), {"data": rows.expand_dims(0), **values, **states})
    return bound.forward()[0][0]


forward = unroll("encoder_birnn_forward_l0_", embedded)
reverse = unroll("encoder_birnn_reverse_l0_", embedded[::-1])[::-1]
encoded = mx.nd.concat(forward, reverse, dim=1)
weight, bias = p["decoder_rnn_enc2decinit_0_weight"], p["decoder_rnn_enc2decinit_0_bias"]
start = mx.nd.tanh(mx.nd.FullyConnected(encoded[-1:], weight, bias, num_hidden=weight.shape[0]))
np.savez(folder + "/out.npz", encoded=encoded.asnumpy(), start=start.asnumpy(),
         **{"shape " + name: np.array(value.shape) for name, value in p.items()})
"""


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_mxnet_s_cells_encode_as_we_do(cell: str, tmp_path: Path) -> None:
    python = python_of("mxnet", ("mxnet==1.9.1", "numpy<1.24"))
    given = {"rnn_cell_type": cell, "rnn_num_hidden": "8", "num_embed_source": "6", "num_embed_target": "5"}
    values = hyperparameters.parse(Seq2Seq.hyperparameters, given)
    words = Vocabulary.of("abcd")
    shape = Architecture.of(values, source_vocabulary=len(words), target_vocabulary=len(words))
    random = np.random.default_rng(0)
    parameters = {
        name: random.normal(0, 0.5, value.shape).astype(np.float32)
        for name, value in initial(shape, random, kind="uniform", scale=1.0, factor="in").items()
    }
    Seq2SeqModel(Translator(shape, parameters, 2.0), words, words, 5).save(tmp_path)
    np.save(tmp_path / "source.npy", SOURCE)
    run_in_mxnet(python, PROGRAM, tmp_path, cell)

    source = data.sources([SOURCE])
    ours = kernels(Arrays, shape, laid_out(shape, parameters))
    encoded = encode(Arrays, loop_over_time, shape, ours, source, NO_DROPS)
    start = first_states(Arrays, shape, ours, remember(Arrays, shape, ours, encoded, source), source)[1]
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(encoded[0], out["encoded"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(start, out["start"], rtol=1e-5, atol=1e-6)
        assert {name: tuple(out[f"shape {name}"]) for name in shapes(shape)} == shapes(shape)
