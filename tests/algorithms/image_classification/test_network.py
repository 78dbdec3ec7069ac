"""The networks: their depth, their parameters' names, Keras beside NumPy, and their optimizers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.common.networks import load_keras, to_numpy
from algorithms.common.stopping import EarlyStopping
from algorithms.errors import ModelError
from algorithms.hyperparameters import parse
from algorithms.image_classification import ImageClassification, network, symbol
from algorithms.image_classification.architecture import DEPTHS, Architecture
from algorithms.image_classification.fit import ends
from algorithms.image_classification.losses import ClassWeights, binary_cross_entropy
from algorithms.image_classification.model import ImageModel
from algorithms.image_classification.optimizers import learning_rate, optimizer
from algorithms.vision.graph import read_graph
from algorithms.vision.inference import Network
from tests.algorithms.samples import eagerly
from tests.algorithms.test_hostile_artifacts import FORM, image_arrays

ROOT = Path(__file__).resolve().parents[3]
REQUIRED = {"num_classes": "3", "num_training_samples": "100"}


def values(**given: object) -> Any:
    strings = REQUIRED | {name: str(value) for name, value in given.items()}
    return parse(ImageClassification.hyperparameters, strings)


# ---- structure ------------------------------------------------------------------------------------------------------


def graph(form: Architecture) -> list[dict[str, Any]]:
    return json.loads(symbol.to_json(form))["nodes"]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_network_is_as_deep_as_its_name_says(depth: int) -> None:
    """Convolutions and the linear layer count, those of shortcuts do not."""
    nodes = graph(Architecture(depth, (3, 64, 64), 7))
    layers = [node for node in nodes if node["op"] in ("Convolution", "FullyConnected")]
    assert sum(not node["name"].endswith("_sc") for node in layers) == depth
    assert sum(node["name"].endswith("_sc") for node in layers) == (3 if depth in (20, 32, 44, 56, 110) else 4)


@pytest.mark.parametrize(("height", "kernel"), [(28, "(3, 3)"), (32, "(3, 3)"), (33, "(7, 7)"), (224, "(7, 7)")])
def test_large_images_are_made_smaller_first(height: int, kernel: str) -> None:
    (first,) = [node for node in graph(Architecture(18, (3, height, 40), 2)) if node["name"] == "conv0"]
    assert first["attrs"]["kernel"] == kernel


def randomised(keras: Any, form: Architecture) -> Any:
    """A network of which every parameter matters, statistics of batch norm too."""
    found, random = network.build(keras, form), np.random.default_rng(1)
    arrays = network.parameters(found)
    for name, array in arrays.items():
        if name.endswith(("_beta", "_mean", "_bias")):
            arrays[name] = random.normal(0, 0.2, array.shape).astype(np.float32)
        elif name.endswith(("_gamma", "_var")) and name != "arg:bn_data_gamma":
            arrays[name] = random.uniform(0.5, 1, array.shape).astype(np.float32)
    arrays["aux:bn_data_moving_mean"] += 120
    arrays["aux:bn_data_moving_var"] += 4000
    network.set_parameters(found, arrays)
    return found


@pytest.mark.parametrize(
    "form",
    [Architecture(20, (3, 17, 23), 4), Architecture(18, (1, 47, 40), 3, True), Architecture(50, (3, 40, 64), 5)],
    ids=lambda form: str(form.num_layers),
)
def test_keras_computes_what_the_symbol_file_says(form: Architecture) -> None:
    keras = load_keras(0)
    trained = randomised(keras, form)
    channels, height, width = form.image_shape
    image = np.random.default_rng(2).integers(0, 256, (height, width, channels), np.uint8)
    scores = to_numpy(trained(image[None], training=False))[0].astype(np.float64)
    expected = 1 / (1 + np.exp(-scores)) if form.multi_label else np.exp(scores) / np.exp(scores).sum()
    arrays = {name.partition(":")[2]: array for name, array in network.parameters(trained).items()}
    found = Network(read_graph(symbol.to_json(form), "symbol"), arrays, form.image_shape)(image)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("height", [20, 40])
def test_a_step_is_that_of_plain_layers(monkeypatch: pytest.MonkeyPatch, height: int) -> None:
    """Batch norms are computed in other ways than Keras', and so is the gradient of the first one's beta, with either
    stem. Plain layers are in double precision, as Keras' batch norms differ by 3 % in some gradients in single."""
    form, random = Architecture(20, (3, height, 24), 4), np.random.default_rng(3)
    pixels, labels = random.integers(0, 256, (5, height, 24, 3), np.uint8), random.integers(0, 4, 5)
    keras, after, scores = load_keras(0), list[dict[str, np.ndarray]](), list[np.ndarray]()
    before = network.parameters(randomised(keras, form))
    from algorithms.image_classification import norms

    for plain in (False, True):
        if plain:
            monkeypatch.setattr(norms, "OfPixels", keras.layers.BatchNormalization)
            monkeypatch.setattr(norms, "BatchNorm", keras.layers.BatchNormalization)
        trained = network.build(keras, form, precision="float64" if plain else "float32")
        network.set_parameters(trained, before)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        with eagerly():
            trained.compile(keras.optimizers.SGD(0.1), loss)
            trained.train_on_batch(pixels, labels)
            scores.append(to_numpy(trained(pixels, training=False)))
        after.append(network.parameters(trained))
    assert np.abs(after[0]["arg:bn_data_beta"] - before["arg:bn_data_beta"]).min() > 1e-5
    for name, array in after[1].items():
        np.testing.assert_allclose(after[0][name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pixels", [1, 2])
def test_moving_variances_are_of_the_batch(pixels: int) -> None:
    """As Keras and MXNet keep them; TensorFlow's kernel estimates those of all images."""
    load_keras(0)
    from algorithms.image_classification import norms

    batch = np.arange(2.0 * pixels, dtype=np.float32).reshape(1, 1, pixels, 2)
    norm = norms.BatchNorm(momentum=0.5)
    norm(batch, training=True)
    np.testing.assert_allclose(to_numpy(norm.moving_mean), batch.mean((0, 1, 2)) / 2, rtol=1e-6)
    np.testing.assert_allclose(to_numpy(norm.moving_variance), (1 + batch.var((0, 1, 2))) / 2, rtol=1e-6)


FORKED = """
import os, sys
from pathlib import Path
import numpy as np
from algorithms.image_classification import model
loaded, image = model.load(Path(sys.argv[1])), np.zeros((16, 16, 3), np.uint8)
if not (child := os.fork()):
    print(loaded.probabilities(image)[0], flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(loaded.probabilities(image)[0])
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_model_that_is_loaded_before_a_fork_answers_on_both_sides(tmp_path: Path, threads: str) -> None:
    """As ``serve`` does. A thread of onnxruntime's that the fork lost ends a process with an abort."""
    ImageModel(symbol.to_json(FORM), image_arrays(), FORM.image_shape, 1, 32).save(tmp_path)
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second


def test_what_the_symbol_file_cannot_mean_is_refused() -> None:
    good = symbol.to_json(FORM)
    arrays = {name.partition(":")[2]: array for name, array in image_arrays().items()}
    for spoiled, reason in (
        (good.replace('"SoftmaxOutput"', '"LinearRegressionOutput"'), "ends in 'LinearRegressionOutput'"),
        (good[:-9], "not a JSON document"),
        ("[]", "not a symbol file"),
        ('{"nodes": [{"op": "softmax", "name": "x", "inputs": [[0, 0, 0]]}], "heads": [[0, 0, 0]]}', "not come before"),
    ):
        with pytest.raises(ModelError, match=reason):
            read_graph(spoiled, "symbol")
    for spoiled, reason in (
        (good.replace('"Flatten"', '"Deconvolution"'), "'Deconvolution', which cannot be run"),
        (good.replace('"relu"', '"mish"'), "the activation 'mish'"),
        (good.replace('"(3, 3)"', '"three"'), "kernel is three, not two numbers"),
        (good.replace('"data"', '"pixels"'), "no input 'data'"),
        (good, "no parameter 'bn_data_gamma'"),
    ):
        with pytest.raises(ModelError, match=reason):
            Network(read_graph(spoiled, "symbol"), {} if spoiled == good else arrays, (3, 16, 16))


def test_symbol_files_of_versions_before_0_9() -> None:
    """An operator's attributes stood in ``param``, and what the user noted beside them in ``attr``."""
    document = json.loads(symbol.to_json(FORM))
    for entry in document["nodes"]:
        entry |= {"param": entry.pop("attrs", {}), "attr": {"ctx_group": "stage1"}}
    arrays = {name.partition(":")[2]: array for name, array in image_arrays().items()}
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    old, new = (
        Network(read_graph(text, "symbol"), arrays, FORM.image_shape)(image)
        for text in (json.dumps(document), symbol.to_json(FORM))
    )
    np.testing.assert_array_equal(old, new)


def node(operator: str, name: str, *inputs: int | tuple[int, int], **attributes: object) -> dict[str, Any]:
    read = [[*source, 0] if isinstance(source, tuple) else [source, 0, 0] for source in inputs]
    return {"op": operator, "name": name, "inputs": read, "attrs": attributes}


DATA = node("null", "data")


def ended(*nodes: dict[str, Any], classes: int = 2) -> str:
    """A symbol file of these nodes, a dense layer and a softmax; parameters are ``w`` and ``v``."""
    last = len(nodes)
    dense = node("FullyConnected", "f", last - 1, last, no_bias=True)
    end = [node("null", "w"), dense, node("softmax", "end", last + 1)]
    return json.dumps({"nodes": [*nodes, *end], "heads": [[last + 2, 0, 0]]})


@pytest.mark.parametrize(
    ("text", "width", "reason"),
    [
        (ended(DATA, node("elemwise_add", "sum", 0, 0), node("Cast", "cast", 1, dtype="uint8")), 192, "dtype is uint8"),
        (
            ended(DATA, node("null", "v"), node("BatchNorm", "b", 0, 1, 1, 1, 1), node("Flatten", "x", (2, 1))),
            192,
            "ou",
        ),
        (ended(node("Dropout", "data")), 192, "no input 'data'"),
        (ended(DATA, node("Pooling", "p", 0, layout="NHWC", global_pool=True, pool_type="avg")), 3, "layout is NHWC"),
        (
            ended(DATA, node("Pooling", "p", 0, kernel="(8, 8)"), node("elemwise_add", "sum", 0, 1)),
            192,
            r"\(8, 8, 3\), \(1, 1, 3\)",
        ),
        (ended(DATA), 0, "gives no numbers"),
    ],
)
def test_a_graph_that_another_one_would_be_taken_for_is_refused(text: str, width: int, reason: str) -> None:
    arrays = {"w": np.ones((2 if width else 0, width or 192), np.float32), "v": np.ones(3, np.float32)}
    with pytest.raises(ModelError, match=reason):
        Network(read_graph(text, "symbol"), arrays, (3, 8, 8))


def test_memory_of_batch_norms_that_share_their_parameters_is_counted() -> None:
    """A file of 2 MB would take 5 GB: each node has its own copy."""
    many = [node("BatchNorm", f"b{number}", number + 2 if number else 1, 2, 2, 2, 2) for number in range(2000)]
    nodes = [DATA, node("Flatten", "flat", 0), node("null", "v"), *many]
    size = 3 * 200 * 200
    arrays = {"w": np.ones((2, size), np.float32), "v": np.ones(size, np.float32)}
    with pytest.raises(ModelError, match="bytes of memory"):
        Network(read_graph(ended(*nodes), "symbol"), arrays, (3, 200, 200))


MOST_OF_NARROW = """
import resource, sys
import numpy as np
from tests.algorithms.image_classification.test_network import DATA, Network, ended, node, read_graph
convolution = node("Convolution", "c", 0, 1, kernel="(1, 1)", no_bias=True)
text = ended(DATA, node("null", "v"), convolution, node("Pooling", "p", 2, global_pool=True, pool_type="avg"))
arrays = {"w": np.ones((2, 1), np.float32), "v": np.ones((1, 1, 1, 1), np.float32)}
found = Network(read_graph(text, "symbol"), arrays, (1, 1024, 1024))
found._made(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found.tried()
print(found.memory, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_memory_of_few_channels_is_that_of_a_block_of_them() -> None:
    command = [sys.executable, "-c", MOST_OF_NARROW]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    judged, taken = map(int, done.stdout.split())
    assert taken <= judged + (8 << 20)


BEYOND = """
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (20 << 20), -1))
try:
    found.tried()
except MemoryError as error:
    print(error)
"""


def test_a_lack_of_memory_is_called_that() -> None:
    """A server answers that it lacks memory, not that it has a fault."""
    command = [sys.executable, "-c", MOST_OF_NARROW + BEYOND]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[1:] == ["there is not enough memory to compute the network"]


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    form = Architecture(20, (3, 16, 16), 2)
    keras = load_keras(0)
    arrays = network.parameters(network.build(keras, form))
    (tmp_path / "model-shapes.json").write_text('[{"name": "data", "shape": [1, 3, 16, 16]}]')
    for name, shape in (("arg:stage1_unit2_conv1_weight", (16, 15, 3, 3)), ("arg:fc1_weight", (2, 63))):
        wrong = np.ones(shape, np.float32)
        ImageModel(symbol.to_json(form), {**arrays, name: wrong}, form.image_shape, 1, 8).save(tmp_path)
        with pytest.raises(ModelError, match="its weight"):
            ImageClassification.load(tmp_path)
    added = json.loads(symbol.to_json(form))
    (position,) = (number for number, node in enumerate(added["nodes"]) if node["name"] == "relu1")
    added["nodes"][position] |= {"op": "broadcast_add", "inputs": [[position - 1, 0, 0], [1, 0, 0]]}
    with pytest.raises(ModelError, match="computes with bn_data_gamma in a way"):
        Network(read_graph(json.dumps(added), "symbol"), {}, (3, 8, 8))


# ---- optimizers -----------------------------------------------------------------------------------------------------

GRADIENTS = [np.array([0.5, -2.0]), np.array([1.0, 0.1]), np.array([-0.3, 0.2])]


def by_hand(name: str) -> np.ndarray:
    """Three steps from (1, 1), as the documentation of MXNet's optimizers gives their formulas."""
    w, m, v = np.ones(2), np.zeros(2), np.zeros(2)
    for t, g in enumerate(GRADIENTS, start=1):
        if name in ("sgd", "nag"):
            m = 0.8 * m - 0.1 * g
            w = w + (m if name == "sgd" else 0.8 * m - 0.1 * g)
        elif name == "adam":
            m, v = 0.7 * m + 0.3 * g, 0.95 * v + 0.05 * g**2
            w = w - 0.1 * np.sqrt(1 - 0.95**t) / (1 - 0.7**t) * m / (np.sqrt(v) + 1e-3)
        else:
            v = 0.6 * v + 0.4 * g**2
            w = w - 0.1 * g / np.sqrt(v + 1e-3)
    return w


@pytest.mark.parametrize("name", ["sgd", "nag", "adam", "rmsprop"])
def test_three_steps_are_those_of_the_formulas(name: str) -> None:
    keras = load_keras(0)
    given = {"momentum": 0.8, "beta_1": 0.7, "beta_2": 0.95, "eps": 1e-3, "gamma": 0.6, "learning_rate": 0.1}
    rule, weights = optimizer(keras, values(optimizer=name, **given)), keras.Variable(np.ones(2, np.float32))
    for gradient in GRADIENTS:
        rule.apply([keras.ops.convert_to_tensor(gradient.astype(np.float32))], [weights])
    np.testing.assert_allclose(to_numpy(weights), by_hand(name), rtol=2e-4)


def test_weight_decay_is_of_weights_and_gammas_only() -> None:
    found = randomised(load_keras(0), Architecture(20, (3, 16, 16), 2))
    arrays = network.parameters(found)
    assert sum(float(to_numpy(loss)) for loss in found.losses) == 0
    decayed = network.build(load_keras(0), Architecture(20, (3, 16, 16), 2), decay=0.02)
    network.set_parameters(decayed, arrays)
    squares = sum(
        (array.astype(float) ** 2).sum()
        for name, array in arrays.items()
        if name.endswith(("_weight", "_gamma")) and "bn_data" not in name
    )
    penalty = sum(float(to_numpy(loss)) for loss in decayed.losses)
    np.testing.assert_allclose(penalty, 0.01 * squares, rtol=1e-5)


def test_the_learning_rate_falls_after_the_steps() -> None:
    given = values(learning_rate=0.5, lr_scheduler_step="2, 4", lr_scheduler_factor=0.1)
    np.testing.assert_allclose(
        [learning_rate(given, epoch) for epoch in range(6)], [0.5, 0.5, 0.05, 0.05, 0.005, 0.005]
    )
    assert learning_rate(values(learning_rate=0.5), 99) == 0.5


# ---- losses and early stopping --------------------------------------------------------------------------------------


def test_the_loss_of_several_labels_is_that_of_each_class() -> None:
    load_keras(0)
    scores, targets = np.float32([[2, -3, 0], [50, -50, 0.5]]), np.float32([[1, 1, 0], [1, 0, 1]])
    probabilities = 1 / (1 + np.exp(-scores.astype(float)))
    expected = -np.where(targets > 0, np.log(probabilities), np.log1p(-np.where(targets > 0, 0, probabilities)))
    np.testing.assert_allclose(to_numpy(binary_cross_entropy(targets, scores)), expected, rtol=1e-5, atol=1e-7)


def test_weights_make_a_rare_class_count_as_much_as_its_absence() -> None:
    targets = np.zeros((1000, 2), np.float32)
    targets[:200, 0] = targets[:2, 1] = 1
    weights = ClassWeights(2).of(targets)
    with_class, without = (weights[:, 0] * targets[:, 0]).sum(), (weights[:, 0] * (1 - targets[:, 0])).sum()
    assert with_class == pytest.approx(without, rel=0.01)
    assert weights.max() == 10  # two images in a thousand would weigh 170
    assert weights.shape == targets.shape


def test_early_stopping_waits_and_then_does_not() -> None:
    accuracies = [0.5, 0.6, 0.605, 0.6, 0.61, 0.61]
    for options, last in (
        ({"early_stopping_min_epochs": 1, "early_stopping_patience": 2, "early_stopping_tolerance": 0.05}, 3),
        ({"early_stopping_min_epochs": 5, "early_stopping_patience": 2, "early_stopping_tolerance": 0.05}, 4),
        ({"early_stopping_min_epochs": 1, "early_stopping_patience": 1, "early_stopping_tolerance": 0}, 3),
        ({"early_stopping_min_epochs": 1, "early_stopping_patience": 9, "early_stopping_tolerance": 0}, None),
    ):
        asked = values(early_stopping="True", **options)
        stopping, over = EarlyStopping(maximize=True, tolerance=asked.early_stopping_tolerance), []
        for epoch, accuracy in enumerate(accuracies):
            stopping.take(accuracy, epoch)
            over.append(ends(asked, stopping, epoch))
        assert (over.index(True) if True in over else None) == last, options
        assert stopping.best == 0.61


def test_half_precision_keeps_weights_in_single() -> None:
    keras = load_keras(0)
    found = network.build(keras, Architecture(20, (3, 16, 16), 2), precision="mixed_float16")
    assert {str(variable.dtype) for variable in found.trainable_variables} == {"float32"}
    assert found.get_layer("stage2_unit1_conv1").compute_dtype == "float16"
    with eagerly():
        assert np.isfinite(to_numpy(found(np.zeros((1, 16, 16, 3), np.uint8)))).all()
