"""Training from networks that a symbol file says: what goes on from them, and what is refused, with its name.

``tests/interop/test_mxnet_starts.py`` compares their steps with MXNet's.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.checkpoints import Checkpoint
from algorithms.common import mxnet_files
from algorithms.common.mxnet_symbols import Graph
from algorithms.common.networks import load_keras, to_numpy
from algorithms.errors import ModelError, TrainingDataError
from algorithms.hyperparameters import parse
from algorithms.image_classification import ImageClassification, other_networks
from algorithms.image_classification import pretrained as starts
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import ImageModel
from algorithms.interface import Hosts
from algorithms.vision.graph import read_graph
from algorithms.vision.inference import Network
from recordio.images import encode_record
from recordio.limits import MOST_TRAINED_NODES
from tests.algorithms.fakes import FakeJob, on_hosts
from tests.algorithms.samples import SAMPLES, Records, eagerly, picture, pictures

SMALL = SAMPLES["image-classification"].hyperparameters | {"use_pretrained_model": "1", "image_shape": "3,8,8"}
FORM = Architecture(20, (3, 8, 8), 2)


@pytest.fixture(autouse=True)
def _eagerly() -> Iterator[None]:
    with eagerly():
        yield


def start(folder: Path, edit: Callable[[dict[str, Any]], Any] | None = None, **more: np.ndarray | None) -> Path:
    """A small network of three classes with a dropout, spoiled by ``edit`` and by arrays in place of its own."""
    folder.mkdir(exist_ok=True)
    graph, random = Graph(), np.random.default_rng(0)
    names = ("gamma", "beta", "moving_mean", "moving_var")
    x = graph.add("BatchNorm", "norm", graph.variable("data"), *(graph.variable(f"norm_{name}") for name in names))
    weights = graph.variable("conv_weight"), graph.variable("conv_bias")
    x = graph.add("Convolution", "conv", x, *weights, kernel=(3, 3), num_filter=4, stride=(2, 2))
    x = graph.add("Activation", "relu", x, act_type="relu")
    x = graph.add("Dropout", "drop", graph.add("Flatten", "flat", x), p=0.5)
    x = graph.add("FullyConnected", "top", x, graph.variable("top_weight"), graph.variable("top_bias"), num_hidden=3)
    document = json.loads(graph.to_json(graph.add("SoftmaxOutput", "out", x, graph.variable("label"))))
    if edit is not None:
        for at, node in enumerate(document["nodes"]):
            node["at"] = at  # which readers ignore
        edit({node["name"]: node for node in document["nodes"]})
    (folder / "model-symbol.json").write_text(json.dumps(document))
    arrays: dict[str, np.ndarray | None] = {
        **{f"arg:norm_{name}": np.ones(3, np.float32) for name in names[:2]},
        **{f"aux:norm_{name}": np.full(3, 100, np.float32) for name in names[2:]},
        "arg:conv_weight": random.normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32),
        "arg:conv_bias": np.zeros(4, np.float32),
        "arg:top_weight": random.normal(0, 0.2, (3, 36)).astype(np.float32),
        "arg:top_bias": np.zeros(3, np.float32),
    }
    arrays |= {name.replace("__", ":"): array for name, array in more.items()}
    kept = {name: array for name, array in arrays.items() if array is not None}
    mxnet_files.save(folder / "model-0000.params", kept)
    return folder


def fit(folder: Path, job: FakeJob | None = None, **given: object) -> ImageModel:
    values = parse(ImageClassification.hyperparameters, SMALL | {name: str(value) for name, value in given.items()})
    channels = {"train": Records(pictures(12)), "validation": Records(pictures(4)), "model": folder}
    return ImageClassification.fit(values, channels, job or FakeJob())


def test_only_the_last_layer_is_random(tmp_path: Path) -> None:
    before = mxnet_files.load(start(tmp_path) / "model-0000.params")
    found = fit(tmp_path, learning_rate=0).arrays
    assert isinstance(before, dict) and found.keys() == before.keys()
    for name in ("arg:conv_weight", "arg:conv_bias", "arg:norm_beta"):
        np.testing.assert_array_equal(found[name], before[name])
    assert found["arg:top_weight"].shape == (2, 36) and found["arg:top_weight"].std() > 0.1


def test_images_of_several_classes(tmp_path: Path) -> None:
    """Whatever the start said, each class has a probability of its own."""
    start(tmp_path)
    given = SMALL | {"multi_label": "1", "num_classes": "2"}
    records = [np.float32([1, 1]), np.float32([0, 1])]
    found = [encode_record(picture(number % 2, number), records[number % 2]) for number in range(12)]
    channels = {"train": Records(found), "validation": Records(found), "model": tmp_path}
    model = ImageClassification.fit(parse(ImageClassification.hyperparameters, given), channels, FakeJob())
    assert model.graph.multi_label and model.graph.nodes[model.graph.head].operator == "LogisticRegressionOutput"


class Kept:
    """Checkpoints in memory: keeps that after the first epoch."""

    def __init__(self, kept: Checkpoint | None = None) -> None:
        self.kept = kept

    def latest(self, **_: Any) -> Checkpoint | None:
        return self.kept

    def offer(self, make: Callable[[], Checkpoint], *, epoch_over: bool = False, alone: bool = False) -> None:
        if epoch_over and self.kept is None:
            made = make()
            state = json.loads(json.dumps(made.state))
            self.kept = Checkpoint(made.position, state, made.arrays, {n: dict(k) for n, k in made.kept.items()})


def test_a_job_that_was_killed_goes_on_with_the_same_dropout(tmp_path: Path) -> None:
    start(tmp_path)
    given = {"epochs": 3, "checkpoint_frequency": 3, "mini_batch_size": 6}
    whole = FakeJob(checkpoints=(kept := Kept()))
    expected = fit(tmp_path, whole, **given).arrays
    again = FakeJob(checkpoints=Kept(kept.kept))
    found = fit(tmp_path, again, **given).arrays
    assert len(again.values("validation", "accuracy")) == 2
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_hosts_have_the_same_network(tmp_path: Path) -> None:
    start(tmp_path)
    values = parse(ImageClassification.hyperparameters, SMALL | {"mini_batch_size": "6"})

    def train(hosts: Hosts) -> ImageModel:
        channels = {"train": Records(pictures(12)), "validation": Records(pictures(4)), "model": tmp_path}
        return ImageClassification.fit(values, channels, FakeJob(hosts=hosts))

    first, second = on_hosts(2, train)
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array, err_msg=name)


def test_memory_is_that_of_the_network_that_is_started_from(tmp_path: Path) -> None:
    """Whatever num_layers is: of each image the pixels, then what the batch norm, the convolution and the dense layer
    read; the parameters, their gradients and momenta, and those that are kept."""
    start(tmp_path)
    batch, image = 1000, 3 * 8 * 8 + 4 * (3 * 8 * 8 + 3 * 8 * 8 + 4 * 3 * 3)
    weights = 12 + 4 * 3 * 9 + 4 + 2 * 36 + 2
    given = {"mini_batch_size": batch, "num_training_samples": batch, "num_layers": 152}
    with pytest.raises(
        TrainingDataError, match=r"mini_batch_size=1000: the network of 'model-symbol.json' has 198 par"
    ):
        fit(tmp_path, FakeJob(memory=batch * image + 16 * weights - 1), **given)
    with pytest.raises(
        TrainingDataError, match=r"an epoch has 12, and mini_batch_size is 1000"
    ):  # which is read thereafter
        fit(tmp_path, FakeJob(memory=batch * image + 16 * weights), **given)
    values = parse(ImageClassification.hyperparameters, SMALL | {"num_layers": "152"})
    assert ImageClassification.memory(values) < 1 << 20


@pytest.mark.parametrize(
    "operator", [{"op": "LeakyReLU", "attrs": {"act_type": "gelu"}}, {"op": "LRN", "attrs": {"nsize": "3"}}]
)
def test_operators_that_are_several_keep_more_than_they_read(tmp_path: Path, operator: dict[str, Any]) -> None:
    plain = starts.find(FORM, start(tmp_path / "plain"), pretrained=True)
    other = starts.find(FORM, start(tmp_path / "other", lambda nodes: nodes["relu"].update(operator)), pretrained=True)
    assert plain is not None and other is not None
    assert other.kept - plain.kept == 3 * 4 * (4 * 3 * 3)


Pair = tuple[int, int]
ONES = np.ones(3, np.float32)
REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any] | None, dict[str, Any], str]] = {
    "operator": (
        lambda nodes: nodes["relu"].update(op="Deconvolution"),
        {},
        "'relu' of the symbol file is a 'Deconvolution', ",
    ),
    "stopped gradients": (lambda nodes: nodes["relu"].update(op="BlockGrad"), {}, "a 'BlockGrad', which cannot be tr"),
    "activation": (lambda nodes: nodes["relu"]["attrs"].update(act_type="swish"), {}, "the activation 'swish'"),
    "groups": (lambda nodes: nodes["conv"]["attrs"].update(num_group="9"), {}, r"'conv' .*, in 9 groups"),
    "no groups": (lambda nodes: nodes["conv"]["attrs"].update(num_group="0"), {}, "num_group is 0, not 1 or more"),
    "a weight of one side": (
        lambda nodes: None,
        {"arg__conv_weight": np.zeros(4, np.float32)},
        "its weight has the shape",
    ),
    "far dilation": (
        lambda nodes: nodes["conv"]["attrs"].update(dilate="(5, 1)", stride="(1, 1)"),
        {},
        r"a kernel of \(11, 3\), in steps of \(1, 1\), on 8 x 8 pixels",
    ),
    "slopes": (
        lambda nodes: nodes["relu"].update(op="LeakyReLU", attrs={"act_type": "rrelu"}),
        {},
        "act_type is rrelu",
    ),
    "bounds": (
        lambda nodes: nodes["relu"].update(op="clip", attrs={"a_min": "6", "a_max": "0"}),
        {},
        "'relu' of the symbol file: a_min is 6, above a_max, 0",
    ),
    "no bound": (lambda nodes: nodes["relu"].update(op="clip", attrs={"a_min": "0"}), {}, "a_max is None, not a num"),
    "division": (
        lambda nodes: nodes["relu"].update(op="_div_scalar", attrs={"scalar": "0"}),
        {},
        "'relu' of the symbol file divides by 0",
    ),
    "joined": (
        lambda nodes: nodes["flat"].update(op="Concat", inputs=[[nodes["relu"]["at"], 0, 0], [0, 0, 0]]),
        {},
        r"'flat' \(Concat\) .* \(3, 3, 4\), \(8, 8, 3\)",
    ),
    "joined axis": (
        lambda nodes: nodes["flat"].update(op="Concat", attrs={"dim": "-4"}),
        {},
        "'flat' .Concat. .*: dim is -4, and of an image there are 1 to 3",
    ),
    "nothing joined": (lambda nodes: nodes["flat"].update(op="Concat", inputs=[]), {}, "'flat' .* lacks inputs"),
    "product": (
        lambda nodes: nodes["flat"].update(op="broadcast_mul", inputs=[[nodes["relu"]["at"], 0, 0], [0, 0, 0]]),
        {},
        r"'flat' \(broadcast_mul\) of the symbol file cannot",
    ),
    "pooling": (
        lambda nodes: nodes["relu"].update(op="Pooling", attrs={"pool_type": "sum", "kernel": "(1, 1)"}),
        {},
        "pool_type is sum, and only max or avg",
    ),
    "filters": (
        lambda nodes: nodes["conv"]["attrs"].update(num_filter="5"),
        {},
        r"'conv' \(Convolution\) .*: num_filter is 5, and the weight has 4",
    ),
    "outputs": (
        lambda nodes: nodes["top"]["attrs"].update(num_hidden="9"),
        {},
        "num_hidden is 9, and the weight has 3",
    ),
    "reversed": (
        lambda nodes: nodes["flat"].update(op="Reshape", attrs={"shape": "(0, -1)", "reverse": "True"}),
        {},
        r"'flat' \(Reshape\) .*: the shape \(0, -1\), reversed,",
    ),
    "reshaped": (
        lambda nodes: nodes["flat"].update(op="Reshape", attrs={"shape": "(0, -4, 3, -1, -2)"}),
        {},
        r"'flat' \(Reshape\) .*: the shape \(0, -4, 3, -1, -2\) of \(3, 3, 4\)",
    ),
    "in groups": (
        lambda nodes: nodes["flat"].update(op="Reshape", attrs={"shape": "(0, -4, 2, -1, -2)"}),
        {},
        r"'top' .*: its input has the shape \(3, 3, 2, 2\), with channels in groups",
    ),
    "swapped": (
        lambda nodes: nodes["flat"].update(op="transpose", attrs={"axes": "(0, 2, 1, 3)"}),
        {},
        "only groups of channels can be swapped",
    ),
    "parts": (
        lambda nodes: nodes["flat"].update(op="SliceChannel", attrs={"num_outputs": "3"}),
        {},
        "'flat' .*: output 0 of 3 equal parts of 4",
    ),
    "a part that is not there": (
        lambda nodes: (
            nodes["flat"].update(op="SliceChannel", attrs={"num_outputs": "2"}),
            nodes["drop"]["inputs"][0].__setitem__(1, 2),
        ),
        {},
        "output 2 of 2 equal parts",
    ),
    "a second output": (lambda nodes: nodes["drop"]["inputs"][0].__setitem__(1, 1), {}, "output 1 of node 10 is read"),
    "part of a batch": (
        lambda nodes: nodes["flat"].update(op="slice", attrs={"begin": "(1,)", "end": "(2,)"}),
        {},
        "it takes some of the images of a batch",
    ),
    "axis": (
        lambda nodes: nodes["flat"].update(op="slice_axis", attrs={"axis": "0", "begin": "0", "end": "1"}),
        {},
        "axis is 0, and of an image there are 1 to 3",
    ),
    "nothing": (
        lambda nodes: nodes["flat"].update(op="slice_axis", attrs={"axis": "1", "begin": "3", "end": "3"}),
        {},
        r"'flat' .* gives no numbers: a shape of \(3, 3, 0\)",
    ),
    "backwards": (
        lambda nodes: nodes["flat"].update(op="slice", attrs={"begin": "(None, 3)", "end": "()", "step": "(1, -1)"}),
        {},
        r"step is \(1, -1\), and only steps of 1 or more",
    ),
    "entries": (
        lambda nodes: nodes["flat"].update(op="slice", attrs={"begin": "(x, 3)", "end": "()"}),
        {},
        "begin is x, not an integer or None",
    ),
    "neighbours": (lambda nodes: nodes["relu"].update(op="LRN", attrs={"nsize": "4"}), {}, "nsize is 4, alpha 0.0001"),
    "no decay": (
        lambda nodes: nodes["relu"].update(op="LRN", attrs={"nsize": "5", "beta": "0"}),
        {},
        "beta 0 and knorm 2; all must be above 0",
    ),
    "padding alone": (
        lambda nodes: nodes["relu"].update(op="Pooling", attrs={"kernel": "(2, 2)", "pad": "(2, 2)"}),
        {},
        r"windows of \(2, 2\), in steps of \(1, 1\), padded by \(2, 2\), have no pixel in them",
    ),
    "pooling larger than its input": (
        lambda nodes: nodes["relu"].update(
            op="Pooling", attrs={"kernel": "(4, 4)", "stride": "(4, 4)", "pooling_convention": "full"}
        ),
        {},
        r"a kernel of \(4, 4\), in steps of \(4, 4\), on 3 x 3 pixels",
    ),
    "no dense layer": (lambda nodes: nodes["top"].update(op="BatchNorm"), {}, "'top', a 'BatchNorm', before its end"),
    "lacks inputs": (lambda nodes: nodes["conv"].update(inputs=[[5, 0, 0]]), {}, "'conv' .Convolution. .* parameters"),
    "computed": (lambda nodes: nodes["top"]["inputs"][1].__setitem__(0, 5), {}, "no parameter 'arg:norm'"),
    "shared": (lambda nodes: nodes["top_bias"].update(name="conv_bias"), {}, "'arg:conv_bias' is read by several"),
    "dropout": (lambda nodes: nodes["drop"]["attrs"].update(p="1.0"), {}, "p is 1, not below 1"),
    "momentum": (lambda nodes: nodes["norm"].update(attrs={"momentum": "x"}), {}, "momentum is x, not a number"),
    "name": (lambda nodes: nodes["data"].update(name="picture"), {}, "has no input 'data'"),
    "missing": (None, {"arg__conv_weight": None}, "has no parameter 'arg:conv_weight'"),
    "missing statistics": (None, {"aux__norm_moving_var": None}, "has no parameter 'aux:norm_moving_var'"),
    "last layer": (None, {"arg__top_weight": None}, "has no parameter 'arg:top_weight', the weight of 'top'"),
    "shape": (None, {"arg__conv_weight": np.ones((4, 5, 3, 3), np.float32)}, "image_shape 3,8,8: .* its weight"),
    "positions": (None, {"arg__top_weight": np.ones((3, 30), np.float32)}, "image_shape 3,8,8: node 'top'"),
    "variance": (None, {"aux__norm_moving_var": -ONES}, "a variance that is not above 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    edit, more, reason = REFUSED[name]
    start(tmp_path, edit, **more)
    with pytest.raises(ModelError, match=reason):
        starts.find(FORM, tmp_path, pretrained=True)


def test_bounds_on_a_symbol_file(tmp_path: Path) -> None:
    document = json.loads((start(tmp_path) / "model-symbol.json").read_text())
    nodes = document["nodes"]
    relu = next(number for number, node in enumerate(nodes) if node["name"] == "relu")
    copies = [{**nodes[relu], "inputs": [[relu + number, 0, 0]]} for number in range(MOST_TRAINED_NODES)]
    for node in nodes[relu + 1 :]:
        node["inputs"] = [[number + len(copies) * (number >= relu), 0, 0] for number, *_ in node["inputs"]]
    document["nodes"] = [*nodes[: relu + 1], *copies, *nodes[relu + 1 :]]
    document["heads"] = [[len(document["nodes"]) - 1, 0, 0]]
    (tmp_path / "model-symbol.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=f"operators; {MOST_TRAINED_NODES} are the most"):
        starts.find(FORM, tmp_path, pretrained=True)


def test_a_sum_of_thousands_of_values_is_refused(tmp_path: Path) -> None:
    many = [[0, 0, 0]] * 50_000
    start(tmp_path, lambda nodes: nodes["flat"].update(op="add_n", inputs=many, attrs={"num_args": "50000"}))
    with pytest.raises(ModelError, match=f"take 500.. values; {MOST_TRAINED_NODES} are the most"):
        starts.find(FORM, tmp_path, pretrained=True)


def test_a_deep_chain_and_sums_of_a_value_with_itself() -> None:
    graph = Graph()
    x = graph.variable("data")
    for number in range(40):
        x = graph.add("elemwise_add", f"twice{number}", x, x)
    for number in range(1100):
        x = graph.add("_mul_scalar", f"scaled{number}", x, scalar=0.5 if number < 40 else 1.0)
    x = graph.add("FullyConnected", "top", x, graph.variable("top_weight"), no_bias=True, num_hidden=2)
    text = graph.to_json(graph.add("SoftmaxOutput", "out", x, graph.variable("softmax_label")))
    network = other_networks.build(load_keras(0), read_graph(text, "deep"), (3, 2, 2))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
    weight = to_numpy(network.weights[0])
    expected = pixels.transpose(0, 3, 1, 2).reshape(4, -1).astype(np.float32) @ weight
    np.testing.assert_allclose(to_numpy(network(pixels)), expected, rtol=1e-4)


def pooled(
    image: np.ndarray, kind: str, kernel: Pair, stride: Pair, pad: Pair, full: bool, counted: bool
) -> np.ndarray:
    """Of pixels (height, width), by MXNet's definition: windows end at the padding, and are 0 or the least of float32
    where they have no pixel."""
    ends = [side + 2 * around - length for side, around, length in zip(image.shape, pad, kernel, strict=True)]
    rows, columns = ((-(-end // step) if full else end // step) + 1 for end, step in zip(ends, stride, strict=True))
    found = np.zeros((rows, columns), np.float32)
    for at in np.ndindex(rows, columns):
        spans = [
            (place * step - around, min(place * step - around + length, side + around), side)
            for place, step, around, length, side in zip(at, stride, pad, kernel, image.shape, strict=True)
        ]
        taken = image[tuple(slice(max(low, 0), min(max(high, 0), side)) for low, high, side in spans)]
        if kind == "max":
            found[at] = taken.max() if taken.size else np.finfo(np.float32).min
        elif taken.size:
            found[at] = taken.sum() / (math.prod(high - low for low, high, _ in spans) if counted else taken.size)
    return found


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("full", [False, True])
def test_poolings_are_those_of_the_definition(kind: str, full: bool) -> None:
    """In training and in serving."""
    keras = load_keras(0)
    image = np.random.default_rng(0).integers(1, 256, (7, 5, 1), np.uint8)
    windows = [((3, 2), (2, 2), (1, 0)), ((2, 2), (3, 2), (1, 1)), ((1, 2), (4, 3), (0, 1)), ((3, 3), (2, 3), (0, 0))]
    for (kernel, stride, pad), counted in itertools.product(windows, (True, False)):
        graph = Graph()
        stated = {"pooling_convention": "full" if full else "valid", "count_include_pad": counted, "pool_type": kind}
        x = graph.add("Pooling", "pool", graph.variable("data"), kernel=kernel, stride=stride, pad=pad, **stated)
        x = graph.add("clip", "clip", x, a_min=-1, a_max=1e6)
        expected = pooled(image[:, :, 0].astype(np.float32), kind, kernel, stride, pad, full, counted).clip(-1).ravel()
        parameters = graph.variable("top_weight"), graph.variable("top_bias")
        x = graph.add("FullyConnected", "top", x, *parameters, num_hidden=expected.size)
        text = graph.to_json(graph.add("LogisticRegressionOutput", "out", x, graph.variable("label")))
        arrays = {"top_weight": np.eye(expected.size, dtype=np.float32) / 64, "top_bias": np.full(expected.size, -1.0)}
        network = other_networks.build(keras, read_graph(text, "x"), (1, 7, 5))
        network.set_weights([arrays["top_weight"].T, arrays["top_bias"]])
        scores = expected / 64 - 1
        np.testing.assert_allclose(to_numpy(network(image[None]))[0], scores, rtol=1e-4, atol=1e-5)
        served = Network(read_graph(text, "x"), arrays, (1, 7, 5))(image)
        np.testing.assert_allclose(served, 1 / (1 + np.exp(-scores)), rtol=1e-4)


def test_without_a_symbol_file_the_network_is_another(tmp_path: Path) -> None:
    (start(tmp_path) / "model-symbol.json").unlink()
    with pytest.raises(ModelError, match="another network, of 2 layers; num_layers of this job is 20"):
        starts.find(FORM, tmp_path, pretrained=True)


def test_an_earlier_job_must_have_the_same_classes(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    fit(start(tmp_path / "start")).save(tmp_path / "out")
    with pytest.raises(ModelError, match="num_classes 2, this job 3; they must be the same"):
        fit(tmp_path / "out", use_pretrained_model=0, num_classes=3)


def test_the_symbol_of_a_checkpoint_in_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path)
    (tmp_path / "model-0000.params").rename(tmp_path / "resnet-20.params")
    (tmp_path / "model-symbol.json").rename(tmp_path / "resnet-20-symbol.json")
    monkeypatch.setattr(starts, "PRETRAINED", tmp_path)
    found = starts.find(FORM, None, pretrained=True)
    assert found is not None and found.file == "resnet-20-symbol.json"
