"""Model folders that ask for gigabytes, are nested, or whose parts do not fit each other: a ModelError, soon, and
within the memory that a file of that size may ask for."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms import registry
from algorithms.common import mxnet_archive, mxnet_files
from algorithms.common.documents import read_json
from algorithms.errors import ModelError
from algorithms.image_classification import symbol
from algorithms.image_classification.architecture import Architecture
from algorithms.seq2seq import architecture as seq2seq
from algorithms.seq2seq.vocabulary import SYMBOLS
from tests.algorithms.common.test_mxnet_files import csr, file, row_sparse

DEEP = "[" * 100_000 + "]" * 100_000
FORM = Architecture(20, (3, 16, 16), 2)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def empty_rows(rows: int, *more: int) -> bytes:
    """A row-sparse array without a value, in some 120 bytes."""
    return row_sparse([], ones(0, *more), (rows, *more))


def nd(path: Path, content: Any) -> None:
    """``model_algo-1``."""
    if isinstance(content, bytes):
        (path / "model_algo-1").write_bytes(content)
    else:
        mxnet_files.save(path / "model_algo-1", content)


# ---- the small folders that are spoiled ------------------------------------------------------------------------------


def image(path: Path, *, shape: Any = (1, 3, 16, 16), edit: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """A network of random weights, whose symbol is spoiled by ``edit``."""
    document = json.loads(symbol.to_json(FORM))
    if edit is not None:
        edit({node["name"]: node for node in document["nodes"]})
    (path / "image-classification-symbol.json").write_text(json.dumps(document))
    text = shape if isinstance(shape, str) else json.dumps([{"name": "data", "shape": shape}])
    (path / "model-shapes.json").write_text(text)
    mxnet_files.save(path / "image-classification-0001.params", image_arrays())


def image_arrays() -> dict[str, np.ndarray]:
    """Parameters of ``FORM``, without Keras: shapes by the symbol's own numbers."""
    arrays, channels = {}, {"data": 3}
    nodes = json.loads(symbol.to_json(FORM))["nodes"]
    for node in nodes:
        sources = [nodes[number]["name"] for number, *_ in node["inputs"]]
        name, attributes = node["name"], node.get("attrs", {})
        if node["op"] == "null":
            continue
        depth = channels[sources[0]]
        channels[name] = depth
        if node["op"] == "BatchNorm":
            for part in ("gamma", "beta"):
                arrays[f"arg:{name}_{part}"] = ones(depth)
            for part in ("moving_mean", "moving_var"):
                arrays[f"aux:{name}_{part}"] = ones(depth)
        elif node["op"] == "Convolution":
            channels[name] = int(attributes["num_filter"])
            arrays[f"arg:{name}_weight"] = ones(channels[name], depth, *json.loads(f"[{attributes['kernel'][1:-1]}]"))
        elif node["op"] == "FullyConnected":
            arrays[f"arg:{name}_weight"], arrays[f"arg:{name}_bias"] = ones(2, depth), ones(2)
    return {name: array / 100 for name, array in arrays.items()}


def translator(path: Path, **changed: Any) -> None:
    """A recurrent network of 5 and 5 tokens, whose config is spoiled by ``changed``."""
    values: dict[str, Any] = {
        "source_vocabulary": 5, "target_vocabulary": 5, "encoder_type": "rnn", "decoder_type": "rnn",
        "num_layers_encoder": 1, "num_layers_decoder": 1, "num_embed_source": 4, "num_embed_target": 4,
        "rnn_num_hidden": 4, "rnn_cell_type": "lstm", "rnn_residual_connections": False, "rnn_first_residual_layer": 2,
        "rnn_attention_type": "mlp", "rnn_attention_num_hidden": 4, "rnn_attention_in_upper_layers": True,
        "rnn_decoder_state_init": "last", "cnn_num_hidden": 4, "cnn_activation_type": "glu",
        "cnn_kernel_width_encoder": 3, "cnn_kernel_width_decoder": 3, "max_seq_len_source": 9, "max_seq_len_target": 9,
    }  # fmt: skip
    shapes = seq2seq.shapes(seq2seq.Architecture(**values))
    mxnet_files.save(path / "params.best", {f"arg:{name}": ones(*shape) for name, shape in shapes.items()})
    config = {"format": "seq2seq 1", "architecture": values, "beam_size": 2, "length_ratio": 1.0}
    for name, value in changed.items():
        (config if name in config else values)[name] = value
    (path / "config").write_text(json.dumps(config))
    for name in ("vocab.src.json", "vocab.trg.json"):
        tokens = [*SYMBOLS, *map(str, range(config["architecture"]["source_vocabulary"] - 4))]
        (path / name).write_text(json.dumps({token: number for number, token in enumerate(tokens)}))


def fm(path: Path, *, meta: str = "{}", symbol: str = "{}", params: Any = None) -> None:
    arrays = {"arg:v": ones(4, 2), "arg:w1_weight": ones(4, 1), "arg:w0_weight": ones(1), **(params or {})}
    mxnet_archive.save(path / "model_algo-1", {"meta.json": meta, "symbol.json": symbol, "params": arrays})


def ntm(path: Path, *, meta: str | None = None, symbol: str = "{}", **changed: np.ndarray) -> None:
    arrays = {}
    for name, inputs, outputs in (("encoder0", 4, 3), ("mean", 3, 2), ("log_variance", 3, 2), ("projection", 2, 4)):
        arrays |= {f"arg:{name}_weight": ones(outputs, inputs), f"arg:{name}_bias": ones(outputs)}
    arrays |= {f"arg:{name}": array for name, array in changed.items()}
    members = {"meta.json": meta or '{"encoder_layers_activation": "tanh"}', "symbol.json": symbol, "params": arrays}
    mxnet_archive.save(path / "model_algo-1", members)


def linear(path: Path, *, params: str = "{}", symbol: str = '{"nodes": [{"op": "x"}]}') -> None:
    arrays = {"fc0_weight": ones(1, 4), "fc0_bias": ones(1)}
    mxnet_archive.save(
        path / "model_algo-1",
        {"additional-params.json": params, "mx-mod-symbol.json": symbol, "mx-mod-0000.params": arrays},
    )


def compressed(path: Path) -> None:
    """A kilobyte of ZIP for each megabyte of zeros."""
    with zipfile.ZipFile(path / "model_algo-1", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("meta.json", "symbol.json", "params"):
            archive.writestr(name, bytes(60 << 20))


def node(name: str, **attributes: str) -> Callable[[dict[str, Any]], Any]:
    return lambda nodes: nodes[name].setdefault("attrs", {}).update(attributes)


def pooling(**attributes: str) -> Callable[[dict[str, Any]], Any]:
    """relu1 becomes a max pooling."""

    def edit(nodes: dict[str, Any]) -> None:
        nodes["relu1"]["op"] = "Pooling"
        nodes["relu1"]["attrs"] = {"kernel": "(1, 1)", "pool_type": "max", **attributes}

    return edit


def becomes(operator: str, times: int = 1, **attributes: str) -> Callable[[dict[str, Any]], Any]:
    """relu1 becomes another operator, which reads its input so many times."""
    return lambda nodes: nodes["relu1"].update(op=operator, attrs=attributes, inputs=nodes["relu1"]["inputs"] * times)


Case = tuple[str, Callable[[Path], Any]]

GREEDY: dict[str, Case] = {
    "kmeans rows": ("kmeans", lambda path: nd(path, file(empty_rows(60_000_000, 1)))),
    "kmeans many": ("kmeans", lambda path: nd(path, file(*[empty_rows(15_000_000, 1)] * 40))),
    "kmeans csr": ("kmeans", lambda path: nd(path, file(csr([0] * 1001, [], [], (1000, 1_000_000))))),
    "pca rows": (
        "pca",
        lambda path: nd(path, file(empty_rows(60_000_000, 1), empty_rows(1), names=(b"v", b"s"))),
    ),
    "lda rows": ("lda", lambda path: nd(path, file(empty_rows(9_000_000), empty_rows(9_000_000, 9)))),
    "fm zeros": ("factorization-machines", compressed),
    "ntm zeros": ("ntm", compressed),
    "image padding": ("image-classification", lambda path: image(path, edit=node("conv0", pad="(6000, 6000)"))),
    "image stride": ("image-classification", lambda path: image(path, edit=node("conv0", stride="(0, 0)"))),
    "image kernel": ("image-classification", lambda path: image(path, edit=node("conv0", kernel="(900, 900)"))),
    "image dilation": ("image-classification", lambda path: image(path, edit=node("conv0", dilate="(900, 900)"))),
    "image filters": ("image-classification", lambda path: image(path, edit=node("conv0", num_filter="900000000"))),
    "image hidden": ("image-classification", lambda path: image(path, edit=node("fc1", num_hidden="900000000"))),
    "image groups": ("image-classification", lambda path: image(path, edit=node("conv0", num_group="1" * 5000))),
    "image epsilon": ("image-classification", lambda path: image(path, edit=node("bn1", eps="nan"))),
    "image nested": ("image-classification", lambda path: image(path, edit=node("conv0", kernel="(" * 9000))),
    "image window": (
        "image-classification",
        lambda path: image(path, edit=pooling(kernel="(100000, 100000)", pad="(50000, 50000)")),
    ),
    "image slow window": (
        "image-classification",
        lambda path: image(path, edit=pooling(kernel="(700, 700)", pad="(400, 400)")),
    ),
    "image many windows": (
        "image-classification",
        lambda path: image(path, edit=pooling(pool_type="avg", kernel="(9, 9)", pad="(8, 8)", stride="(0, 0)")),
    ),
    "image rounded window": (
        "image-classification",
        lambda path: image(path, edit=pooling(stride="(999999999, 999999999)", pooling_convention="full")),
    ),
    "image joined": ("image-classification", lambda path: image(path, edit=becomes("Concat", 50_000))),
    "image bound": ("image-classification", lambda path: image(path, edit=becomes("clip", a_min="nan", a_max="6"))),
    "image scalar": ("image-classification", lambda path: image(path, edit=becomes("_mul_scalar", scalar="1e999"))),
    "image slopes": (
        "image-classification",
        lambda path: image(path, edit=becomes("LeakyReLU", act_type="prelu")),
    ),
    "image no group": ("image-classification", lambda path: image(path, edit=node("conv0", num_group="0"))),
    "image side": ("image-classification", lambda path: image(path, shape=(1, 3, 16384, 16384))),
    "image batch": ("image-classification", lambda path: image(path, shape=(1, 3, 10**400, 1))),
    "image infinite": (
        "image-classification",
        lambda path: image(path, shape='[{"name": "data", "shape": [1, 3, Infinity, 16]}]'),
    ),
    "image nan": (
        "image-classification",
        lambda path: image(path, shape='[{"name": "data", "shape": [1, 3, NaN, 16]}]'),
    ),
    "image head": (
        "image-classification",
        lambda path: image(path, edit=lambda nodes: nodes["conv0"].update(inputs=[[float("inf"), 0, 0]])),
    ),
    "image deep": (
        "image-classification",
        lambda path: (image(path), (path / "image-classification-symbol.json").write_text(DEEP)),
    ),
    "seq2seq layers": ("seq2seq", lambda path: translator(path, num_layers_encoder=2_000_000_000)),
    "seq2seq hidden": ("seq2seq", lambda path: translator(path, rnn_num_hidden=1_000_000_000)),
    "seq2seq embed": ("seq2seq", lambda path: translator(path, num_embed_source=10**30)),
    "seq2seq attention": ("seq2seq", lambda path: translator(path, rnn_attention_num_hidden=10**9)),
    "seq2seq of odd width": ("seq2seq", lambda path: translator(path, rnn_num_hidden=5)),
    "seq2seq beam": ("seq2seq", lambda path: translator(path, beam_size=10**30)),
    "seq2seq ratio": ("seq2seq", lambda path: translator(path, length_ratio=float("inf"))),
    "seq2seq choice": ("seq2seq", lambda path: translator(path, encoder_type=["rnn"])),
    "seq2seq deep": ("seq2seq", lambda path: (translator(path), (path / "config").write_text(DEEP))),
    "seq2seq words": ("seq2seq", lambda path: (translator(path), (path / "vocab.src.json").write_text(DEEP))),
    "fm deep": ("factorization-machines", lambda path: fm(path, meta=DEEP)),
    "ntm deep": ("ntm", lambda path: ntm(path, meta=DEEP)),
    "ntm deep symbol": ("ntm", lambda path: ntm(path, symbol=DEEP)),
    "linear deep": ("linear-learner", lambda path: linear(path, params=DEEP)),
    "linear deep symbol": ("linear-learner", lambda path: linear(path, symbol=DEEP)),
    "linear infinite": ("linear-learner", lambda path: linear(path, params='{"threshold": Infinity}')),
    "linear digits": ("linear-learner", lambda path: linear(path, params=f'{{"threshold": {"9" * 5000}}}')),
}

_LOADED = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from algorithms import registry
from algorithms.errors import ModelError
for name in {name for name, _ in json.loads(sys.argv[1]).values()}:
    registry.find(name).recognises(Path("/nowhere"))
import scipy.linalg.blas
from concurrent.futures import ThreadPoolExecutor
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20), -1))
for key, (name, folder) in json.loads(sys.argv[1]).items():
    started = time.process_time()
    try:
        registry.find(name).load(Path(folder))
        outcome = "loaded"
    except BaseException as error:
        outcome = type(error).__name__ + ": " + str(error)[:200]
    print(json.dumps([key, outcome, time.process_time() - started]))
"""


def test_a_small_file_gets_little_memory_and_time(tmp_path: Path) -> None:
    """In a process that may map 400 MB more than it has when it starts to load."""
    folders = {}
    for number, (key, (algorithm, write)) in enumerate(GREEDY.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder)
        folders[key] = (algorithm, str(folder))
    command = [sys.executable, "-c", _LOADED, json.dumps(folders)]
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [key for key, *_ in outcomes] == list(GREEDY)
    wrong = [entry for entry in outcomes if not entry[1].startswith("ModelError: ") or entry[2] > 3]
    assert wrong == []
    assert max(len(outcome) for _, outcome, _ in outcomes) < 400


VALID: dict[str, Case] = {
    "image": ("image-classification", image),
    "seq2seq": ("seq2seq", translator),
    "fm": ("factorization-machines", fm),
    "ntm": ("ntm", ntm),
    "linear": ("linear-learner", linear),
    "lda": ("lda", lambda path: nd(path, [ones(2), ones(2, 3)])),
    "pca": ("pca", lambda path: nd(path, {"s": ones(2), "v": ones(3, 2), "mean": ones(1, 3)})),
    "kmeans": ("kmeans", lambda path: nd(path, [ones(2, 3)])),
}


@pytest.mark.parametrize("name", VALID)
def test_the_folders_load_before_they_are_spoiled(name: str, tmp_path: Path) -> None:
    algorithm, write = VALID[name]
    write(tmp_path)
    registry.find(algorithm).load(tmp_path)


def nan(*shape: int) -> np.ndarray:
    return ones(*shape) * np.float32(np.nan)


beyond = np.full((2, 3), 1e300)
UNFIT: dict[str, Case] = {
    "kmeans beyond float32": ("kmeans", lambda path: nd(path, [beyond])),
    "kmeans booleans": ("kmeans", lambda path: nd(path, [beyond > 0])),
    "kmeans nothing": ("kmeans", lambda path: nd(path, [ones(0, 3)])),
    "pca mean": ("pca", lambda path: nd(path, {"s": ones(2), "v": ones(3, 2), "mean": ones(1, 4)})),
    "pca negative": ("pca", lambda path: nd(path, {"s": -ones(2), "v": ones(3, 2)})),
    "pca beyond float32": ("pca", lambda path: nd(path, {"s": ones(3), "v": beyond})),
    "lda alpha": ("lda", lambda path: nd(path, [ones(2) * 0, ones(2, 3)])),
    "lda topics": ("lda", lambda path: nd(path, [ones(3), ones(2, 3)])),
    "lda beta": ("lda", lambda path: nd(path, [ones(2), ones(2, 3) * 0])),
    "lda beyond float32": ("lda", lambda path: nd(path, [ones(2), beyond])),
    "fm nan": ("factorization-machines", lambda path: fm(path, params={"arg:v": nan(4, 2)})),
    "fm widths": ("factorization-machines", lambda path: fm(path, params={"arg:w1_weight": ones(3, 1)})),
    "fm no factors": ("factorization-machines", lambda path: fm(path, params={"arg:v": ones(4, 0)})),
    "fm no features": (
        "factorization-machines",
        lambda path: fm(path, params={"arg:v": ones(0, 2), "arg:w1_weight": ones(0, 1)}),
    ),
    "ntm nan": ("ntm", lambda path: ntm(path, mean_bias=nan(2))),
    "ntm topics": ("ntm", lambda path: ntm(path, mean_weight=ones(3, 3), mean_bias=ones(3))),
    "ntm nothing": ("ntm", lambda path: ntm(path, projection_weight=ones(0, 2), projection_bias=ones(0))),
    "ntm scalar": ("ntm", lambda path: ntm(path, mean_weight=ones(2))),
    "ntm meta": ("ntm", lambda path: ntm(path, meta="[]")),
}


@pytest.mark.parametrize("name", UNFIT)
def test_arrays_that_do_not_fit_are_refused(name: str, tmp_path: Path) -> None:
    algorithm, write = UNFIT[name]
    write(tmp_path)
    with pytest.raises(ModelError):
        registry.find(algorithm).load(tmp_path)


@pytest.mark.parametrize("name", ["bn1_gamma", "conv0_weight", "fc1_bias", "bn_data_moving_var"])
@pytest.mark.parametrize(
    "spoil", [lambda a: a[:-1], lambda a: a * np.nan, lambda a: a[None]], ids=["cut", "nan", "ndim"]
)
def test_a_networks_arrays_that_do_not_fit_are_refused(name: str, spoil: Any, tmp_path: Path) -> None:
    image(tmp_path)
    arrays = image_arrays()
    (key,) = {key for key in arrays if key.endswith(f":{name}")}
    arrays[key] = spoil(arrays[key])
    mxnet_files.save(tmp_path / "image-classification-0001.params", arrays)
    with pytest.raises(ModelError):
        registry.find("image-classification").load(tmp_path)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "9" * 5000, DEEP, "{", "\ud800", ""])
def test_what_is_no_json_by_the_standard_is_a_model_error(text: str) -> None:
    content = text.encode(errors="surrogatepass")
    with pytest.raises(ModelError, match="'a file'"):
        read_json(content, "a file")
