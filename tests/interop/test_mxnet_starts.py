"""Training from networks of other forms, which real MXNet 1.9.1 says, computes and steps: here as there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from algorithms.common.networks import to_numpy
from algorithms.hyperparameters import parse
from algorithms.image_classification import ImageClassification
from algorithms.image_classification import fit as fitting
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.export import to_onnx
from algorithms.image_classification.model import ImageModel, load_arrays
from algorithms.image_classification.pretrained import find
from algorithms.interface import Items
from algorithms.vision.pipeline import ImageBatch
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import SAMPLES, Records, eagerly, pictures
from tests.interop.environments import python_of
from tests.interop.test_mxnet import REQUIREMENTS
from tests.interop.test_mxnet_images import in_mxnet

pytestmark = pytest.mark.slow

SHAPE = (3, 19, 22)
RATE, MOMENTUM, DECAY = 0.05, 0.9, 0.02

# Each with something that the network of this project has not. ``positions`` and ``residual``: windows that are not
# square, a pooling of negative numbers at a padded border, biases, statistics that stay, gammas of 1, a dense layer
# over positions, a sum that is spread. The others have what is new in a network of MXNet's model zoo, in small:
# depthwise convolutions and clips (mobile), joined branches and rounded-up poolings, with a convolution as the last
# layer (squeeze), means over padded windows of each kind (inception), groups, dilations and gates (gated), activations
# (bent); parts of values and channels in another order (shuffled), and what networks of 2012 have (local):
# normalisation by neighbours, and poolings whose last windows lie beyond the picture. A step twice, so that momentum is
# seen; then what it says, and its own answer with the statistics it has.
MADE = """
if NAME == 'local':  # oneDNN's gradients of this network are others than those of MXNet's own operators
    os.environ['MXNET_MKLDNN_ENABLED'] = '0'
pixels, labels = np.load('pixels.npy').astype(np.float32), np.load('labels.npy')
def conv(x, name, **more): return mx.sym.Convolution(x, name=name, **more)
def pool(x, kind='max', **more): return mx.sym.Pooling(x, pool_type=kind, **more)
def relu(x): return mx.sym.Activation(x, act_type='relu')
def norm(x, **more): return mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-3, **more)
def whole(x, kind='avg'): return mx.sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type=kind)
def dense(x, name, n=4): return mx.sym.FullyConnected(x, num_hidden=n, name=name)
data = mx.sym.BatchNorm(mx.sym.identity(mx.sym.var('data')), use_global_stats=True, eps=1e-4, name='in')

def positions():
    x = pool(conv(data, 'c1', kernel=(5, 3), num_filter=6, stride=(2, 1), pad=(1, 0)), kernel=(3, 3), stride=(2, 2),
             pad=(1, 1))
    x = conv(x, 'c2', kernel=(3, 3), num_filter=8, pad=(1, 1), no_bias=True)
    x = mx.sym.BatchNorm(x, momentum=0.7, name='b')
    x = mx.sym.broadcast_add(x, mx.sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type='avg'))
    x = mx.sym.Activation(mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=10, name='f1'), act_type='sigmoid')
    return mx.sym.FullyConnected(mx.sym.Dropout(x, p=0), num_hidden=4, name='f2')

def residual():
    x = conv(data, 'stem', kernel=(7, 7), num_filter=8, stride=(2, 2), pad=(3, 3), no_bias=True)
    x = relu(mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-5))
    x = pool(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    y = relu(mx.sym.BatchNorm(conv(x, 'u1', kernel=(3, 3), num_filter=8, stride=(2, 2), pad=(1, 1)), fix_gamma=False))
    y = mx.sym.BatchNorm(conv(y, 'u2', kernel=(3, 3), num_filter=8, pad=(1, 1)), fix_gamma=False)
    x = relu(y + mx.sym.BatchNorm(conv(x, 'short', kernel=(1, 1), num_filter=8, stride=(2, 2)), fix_gamma=False))
    x = mx.sym.Pooling(x, global_pool=True, kernel=(7, 7), pool_type='avg')
    return mx.sym.FullyConnected(x, num_hidden=4, no_bias=True, name='last')

def mobile():
    x = mx.sym.clip(norm(conv(data, 'stem', kernel=(3, 3), num_filter=6, stride=(2, 2), pad=(1, 1))), 0, 6)
    y = norm(conv(x, 'wide', kernel=(1, 1), num_filter=12, no_bias=True))
    y = mx.sym.clip(y, a_min=0, a_max=0.7)
    y = norm(conv(y, 'deep', kernel=(3, 3), num_filter=12, num_group=12, stride=(2, 2), pad=(1, 1), no_bias=True))
    y = conv(mx.sym.clip(y, 0, 6), 'twice', kernel=(3, 3), num_filter=24, num_group=12, stride=(1, 2), pad=(1, 1))
    y = norm(conv(y, 'narrow', kernel=(1, 1), num_filter=6))
    x = mx.sym.elemwise_add(y, norm(conv(x, 'side', kernel=(1, 1), num_filter=6, stride=(2, 4), no_bias=True)))
    return mx.sym.Flatten(conv(whole(x), 'last', kernel=(1, 1), num_filter=4, no_bias=True))

def squeeze():
    x = pool(conv(data, 'stem', kernel=(3, 3), num_filter=6), kernel=(3, 3), stride=(2, 2), pooling_convention='full')
    x = relu(conv(x, 'in1', kernel=(1, 1), num_filter=4))
    y, z = conv(x, 'one', kernel=(1, 1), num_filter=5), conv(x, 'three', kernel=(3, 3), num_filter=3, pad=(1, 1))
    x = mx.sym.concat(relu(y), relu(z), norm(x), dim=1)
    x = pool(x, kernel=(4, 3), stride=(3, 2), pad=(1, 1), pooling_convention='full')
    x = mx.sym.Dropout(x, p=0)
    return mx.sym.Flatten(whole(relu(conv(x, 'last', kernel=(1, 1), num_filter=4))))

def inception():
    x = norm(conv(data, 'stem', kernel=(3, 3), num_filter=6, stride=(2, 2), no_bias=True))
    a = pool(x, 'avg', kernel=(3, 3), pad=(1, 1))
    b = pool(x, 'avg', kernel=(3, 3), pad=(1, 1), count_include_pad=False)
    x = mx.sym.Concat(a, b, conv(x, 'aside', kernel=(1, 7), num_filter=4, pad=(0, 3)))
    full = dict(kernel=(3, 2), stride=(2, 3), pad=(1, 0), pooling_convention='full')
    a = pool(x, 'avg', **full)
    x = mx.sym.add_n(a, pool(x, 'avg', count_include_pad=False, **full), pool(x, **full))
    return dense(relu(dense(mx.sym.Concat(mx.sym.Flatten(whole(x)), mx.sym.Flatten(whole(x, 'max'))), 'f1', 7)), 'f2')

def gated():
    x = norm(conv(data, 'stem', kernel=(3, 3), num_filter=8, stride=(2, 2), no_bias=True))
    x = relu(norm(conv(x, 'groups', kernel=(3, 3), num_filter=12, num_group=4, pad=(1, 1))))
    x = norm(conv(x, 'apart', kernel=(3, 3), num_filter=12, dilate=(2, 1), pad=(2, 1)))
    x = x * mx.sym.sigmoid(1.5 * x)
    y = conv(relu(conv(whole(x), 'down', kernel=(1, 1), num_filter=3)), 'up', kernel=(1, 1), num_filter=12)
    x = mx.sym.broadcast_mul(x, mx.sym.sigmoid(y))
    x = x * mx.sym.clip(x + 3, 0, 6) / 6 - 0.1
    x = mx.sym.contrib.AdaptiveAvgPooling2D(x, output_size=1)
    return dense(mx.sym.Reshape(x, shape=(0, -1)), 'last')

def bent():
    x = conv(data, 'stem', kernel=(3, 3), num_filter=6, stride=(2, 2))
    x = mx.sym.LeakyReLU(x, act_type='prelu', name='learned')
    x = mx.sym.LeakyReLU(conv(x, 'one', kernel=(3, 3), num_filter=6), act_type='leaky', slope=0.1)
    one = mx.sym.LeakyReLU(x, gamma=mx.sym.var('one_gamma', shape=(1,)), act_type='prelu', name='single')
    x = mx.sym.Concat(*[mx.sym.LeakyReLU(x, act_type=kind) for kind in ('elu', 'selu', 'gelu')], one,
                      *[mx.sym.Activation(x, act_type=kind) for kind in ('tanh', 'softrelu', 'softsign')])
    x = dense(mx.sym.tanh(mx.sym.relu(whole(x)) + mx.sym.sigmoid(whole(x)) * -0.5), 'f1', 9)
    x = mx.sym.LeakyReLU(x, act_type='prelu', name='of_vectors')
    return dense(x, 'last')

def shuffle(x, groups=2):
    x = mx.sym.swapaxes(mx.sym.reshape(x, shape=(0, -4, groups, -1, -2)), 1, 2)
    return mx.sym.reshape(x, shape=(0, -3, -2))

def shuffled():
    x = norm(conv(data, 'stem', kernel=(3, 3), num_filter=8, stride=(2, 2), pad=(1, 1), no_bias=True))
    kept, x = mx.sym.split(x, axis=1, num_outputs=2)
    x = relu(norm(conv(x, 'one', kernel=(1, 1), num_filter=4, no_bias=True)))
    x = norm(conv(x, 'deep', kernel=(3, 3), num_filter=4, num_group=4, pad=(2, 2), dilate=(2, 2), stride=(2, 2)))
    x = shuffle(mx.sym.Concat(pool(kept, kernel=(3, 3), stride=(2, 2), pad=(1, 1)), x))
    y = conv(x, 'apart', kernel=(3, 3), num_filter=6, stride=(2, 3), dilate=(3, 2), pad=(3, 2))
    y = mx.sym.Concat(mx.sym.slice_axis(y, axis=1, begin=-4, end=-1), mx.sym.slice_axis(y, axis=1, begin=0, end=3),
                      dim=-3)
    x = conv(shuffle(y, 3), 'mixed', kernel=(1, 1), num_filter=10)
    x = mx.sym.slice(x, begin=(None, 2, 0, 0), end=(None, None, 3, None), step=(None, 3, 1, 1))
    x, _, y = mx.sym.SliceChannel(mx.sym.Flatten(x), num_outputs=3, name='of_vectors')
    return dense(mx.sym.Concat(x, y, dim=-1), 'last')

def local():
    x = relu(conv(data, 'c1', kernel=(5, 5), num_filter=8, stride=(2, 2), pad=(2, 2)))
    x = mx.sym.LRN(x, nsize=5, alpha=0.5, beta=0.75, knorm=1)
    x = pool(x, kernel=(3, 3), stride=(2, 2), pooling_convention='full')
    x = mx.sym.LRN(conv(x, 'c2', kernel=(3, 3), num_filter=6, num_group=2, pad=(1, 1)), nsize=3, alpha=2)
    beyond = dict(kernel=(1, 2), stride=(3, 2), pooling_convention='full')
    a, b = pool(x, 'avg', **beyond), mx.sym.clip(pool(x, **beyond), -3, 3)
    c = pool(x, 'avg', kernel=(2, 2), stride=(3, 2), pad=(1, 1), pooling_convention='full')
    x = conv(mx.sym.Concat(a, b), 'c3', kernel=(2, 2), num_filter=5) + conv(c, 'c4', kernel=(2, 3), num_filter=5)
    x = mx.sym.Concat(relu(x), mx.sym.clip(x, -1, 1), dim=2)
    return dense(mx.sym.Concat(x, mx.sym.tanh(x), dim=-1), 'last')

scores = globals()[NAME]()
net = mx.sym.SoftmaxOutput(scores, name='softmax')
mod = mx.mod.Module(net)
mod.bind([('data', pixels.shape)], [('softmax_label', labels.shape)])
mx.random.seed(0)
mod.init_params(mx.init.Xavier())
args, aux = mod.get_params()
aux['in_moving_mean'][:] = 110
aux['in_moving_var'][:] = 4000
mod.set_params(args, aux)
# With the head, or, as Gluon exports networks, without.
mx.model.save_checkpoint('model', 3, net if NAME == 'positions' else scores, args, aux)
mod.init_optimizer(optimizer='sgd', optimizer_params={'learning_rate': RATE, 'momentum': MOMENTUM, 'wd': DECAY})
batch = mx.io.DataBatch([mx.nd.array(pixels)], [mx.nd.array(labels)])
mod.forward(batch, is_train=False)
out['evaluated'] = mod.get_outputs()[0].asnumpy()
for step in range(2):
    mod.forward_backward(batch)
    out['trained%d' % step] = mod.get_outputs()[0].asnumpy()
    mod.update()
    mx.nd.waitall()  # or statistics are copied before they have moved
args, aux = mod.get_params()
out.update({'arg:' + name: array.asnumpy() for name, array in args.items()})
out.update({'aux:' + name: array.asnumpy() for name, array in aux.items()})
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("mxnet", REQUIREMENTS)


def made(python: Path, folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Pixels (n, height, width, channels), labels, and what MXNet makes of them; its checkpoint is in ``folder``."""
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (6, *SHAPE[1:], 3), np.uint8), random.integers(0, 4, 6)
    np.save(folder / "pixels.npy", pixels.transpose(0, 3, 1, 2))
    np.save(folder / "labels.npy", labels.astype(np.float32))
    constants = f"NAME, RATE, MOMENTUM, DECAY = {name!r}, {RATE}, {MOMENTUM}, {DECAY}"
    return pixels, labels, in_mxnet(python, folder, constants + MADE)


def values(**given: object):
    shape = ",".join(map(str, SHAPE))
    strings = {"num_classes": 4, "mini_batch_size": 6, "image_shape": shape, "use_pretrained_model": 1} | given
    sample = SAMPLES["image-classification"].hyperparameters
    return parse(ImageClassification.hyperparameters, sample | {name: str(value) for name, value in strings.items()})


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


RANDOM = {
    "positions": 2,
    "residual": 1,
    "mobile": 1,
    "squeeze": 2,
    "inception": 2,
    "gated": 2,
    "bent": 2,
    "shuffled": 2,
    "local": 2,
}
"""By network, the parameters of its last layer."""
FIRST = ("positions", "residual")


@pytest.mark.parametrize("name", RANDOM)
def test_steps_are_those_of_mxnet(python: Path, tmp_path: Path, name: str) -> None:
    pixels, labels, expected = made(python, tmp_path, name)
    form = Architecture(20, SHAPE, 4)
    start = find(form, tmp_path, pretrained=True)
    assert start is not None and len(start.random) == RANDOM[name]
    options = values(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    with eagerly():
        trainer = fitting.Trainer(options, form, FakeJob(), start.symbol)
        trainer.start_from(start._replace(random=()))  # the last layer too, or there is nothing to compare
        evaluated = softmax(to_numpy(trainer.network(pixels, training=False)))
        np.testing.assert_allclose(evaluated, expected["evaluated"], rtol=1e-4, atol=1e-6)
        assert np.ptp(evaluated) > 0.01
        for step in range(2):
            # Of what is seen while it trains: probabilities by the batch's own statistics, before the step.
            kept = trainer.parameters()
            seen = softmax(to_numpy(trainer.network(pixels, training=True)))
            np.testing.assert_allclose(seen, expected[f"trained{step}"], rtol=1e-3, atol=1e-5)
            trainer.start_from(start._replace(arrays=kept, random=()))  # that has moved the statistics
            trainer._step(ImageBatch(pixels, labels.astype(np.int32), 6))
    found = trainer.parameters()
    before = load_arrays(tmp_path / "model-0003.params")
    assert found.keys() == before.keys()
    unused = {"arg:in_gamma", "arg:b_gamma"}  # 1 here; MXNet lets them decay
    # A module of MXNet takes a layer's outputs for its inputs when it finds the gradients of slopes; autograd does not.
    slopes = {"arg:learned_gamma", "arg:one_gamma", "arg:of_vectors_gamma"}
    for array in found.keys() - unused - slopes:
        np.testing.assert_allclose(found[array], expected[array], rtol=1e-3, atol=2e-5, err_msg=array)
    unmoved = {array for array in found.keys() - unused if np.array_equal(found[array], before[array])}
    assert unmoved == {"aux:in_moving_mean", "aux:in_moving_var"}


TRAINED_ON = """
pixels = np.load('pixels.npy')
sym, args, aux = mx.model.load_checkpoint('image-classification', 2)
mod = mx.mod.Module(symbol=sym, data_names=['data'], label_names=None)
mod.bind(for_training=False, data_shapes=[('data', pixels.shape)])
mod.set_params(args, aux, allow_missing=True)  # the label
mod.forward(mx.io.DataBatch([mx.nd.array(pixels)]), is_train=False)
out['answer'] = mod.get_outputs()[0].asnumpy()
"""


@pytest.mark.parametrize(
    ("name", "classes"), [("positions", 2), ("residual", 4), *((name, 3) for name in RANDOM if name not in FIRST)]
)
def test_a_network_that_was_trained_on_is_opened_by_mxnet(
    python: Path, tmp_path: Path, name: str, classes: int
) -> None:
    """It has the classes of the job, which need not be those of the start; and training can go on from it."""
    pixels, _, _ = made(python, tmp_path, name)
    job, artifact = FakeJob(), tmp_path / "artifact"
    channels = {"train": Records(pictures(12)), "validation": Records(pictures(12))}
    given = {"num_classes": classes, "learning_rate": 0.003, "checkpoint_frequency": 1, "resize": 22, "epochs": 2}
    with eagerly():
        found = ImageClassification.fit(values(**given), channels | {"model": tmp_path}, job)
    assert "The network is that of 'model-symbol.json'; num_layers has no effect" in job.messages
    artifact.mkdir()
    found.save(artifact)
    np.save(artifact / "pixels.npy", pixels.transpose(0, 3, 1, 2).astype(np.float32))
    answer = ImageClassification.load(artifact).predict(Items(list(pixels)))["prediction"]
    assert answer.shape == (6, classes) and np.ptp(answer) > 0.01
    expected = in_mxnet(python, artifact, TRAINED_ON)["answer"]
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-6)
    exported = onnxruntime.InferenceSession(to_onnx(found).SerializeToString(), providers=["CPUExecutionProvider"])
    (said,) = exported.run(None, {"image": pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-6)
    if name not in FIRST:
        return
    with eagerly():
        again = values(**given | {"use_pretrained_model": 0, "learning_rate": 0})
        onwards = ImageClassification.fit(again, channels | {"model": artifact}, FakeJob())
    weights = [array for array in found.arrays if array.endswith(("weight", "bias"))]
    assert all(np.array_equal(onwards.arrays[array], found.arrays[array]) for array in weights)


EVALUATED = """
pixels = np.load('pixels.npy')
sym, args, aux = mx.model.load_checkpoint('model', 3)
mod = mx.mod.Module(symbol=mx.sym.softmax(sym), label_names=None)
mod.bind(for_training=False, data_shapes=[('data', pixels.shape)])
mod.set_params(args, aux)
mod.forward(mx.io.DataBatch([mx.nd.array(pixels)]), is_train=False)
out['answer'] = mod.get_outputs()[0].asnumpy()
"""


def test_a_symbol_file_of_before_mxnet_0_9(python: Path, tmp_path: Path) -> None:
    """Its batch norms do not read their statistics, which have the names that go with the node; attributes are
    "param", and sources pairs."""
    pixels, _, expected = made(python, tmp_path, "residual")
    file = tmp_path / "model-symbol.json"
    document = json.loads(file.read_text())
    del document["attrs"], document["node_row_ptr"]
    for node in document["nodes"]:
        node["inputs"] = [source[:2] for source in node["inputs"][: 3 if node["op"] == "BatchNorm" else None]]
        node["param"] = node.pop("attrs", {})
    document["heads"] = [source[:2] for source in document["heads"]]
    file.write_text(json.dumps(document))
    np.testing.assert_allclose(in_mxnet(python, tmp_path, EVALUATED)["answer"], expected["evaluated"], rtol=1e-5)
    start = find(Architecture(20, SHAPE, 4), tmp_path, pretrained=True)
    assert start is not None and start.symbol is not None
    found = ImageModel(start.symbol, start.arrays, SHAPE, 1, 6).predict(Items(list(pixels)))["prediction"]
    np.testing.assert_allclose(found, expected["evaluated"], rtol=1e-4, atol=1e-6)
