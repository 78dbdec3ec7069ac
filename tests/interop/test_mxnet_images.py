"""Image records and checkpoints between this project and real MXNet 1.9.1, in both directions."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from algorithms.errors import ModelError
from algorithms.hyperparameters import parse
from algorithms.image_classification import ImageClassification, model, symbol
from algorithms.image_classification.architecture import Architecture, resnet
from algorithms.image_classification.model import ImageModel
from algorithms.interface import Items
from local.commands import oba
from recordio.images import RecordFile, encode_record
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import SAMPLES, Records, eagerly, picture
from tests.interop.environments import python_of, run_in_mxnet
from tests.interop.test_mxnet import REQUIREMENTS
from tests.local.test_pretrained import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Path:
    return python_of("mxnet", REQUIREMENTS)


def in_mxnet(python: Path, folder: Path, program: str) -> dict[str, np.ndarray]:
    """What ``program``, run in ``folder``, left in the dict ``out``."""
    prelude = "import os, sys\nos.chdir(sys.argv[1])\nimport numpy as np, mxnet as mx\nout = {}"
    run_in_mxnet(python, f"{prelude}\n{program}\nnp.savez('out.npz', **out)", folder)
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


class _Shapes:
    """``architecture.Operators`` that note the shape of each parameter; a tensor is its number of channels."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, ...]] = {}

    def batch_norm(self, x: int, name: str, *, scale: bool = True) -> int:
        for suffix in ("arg:{}_gamma", "arg:{}_beta", "aux:{}_moving_mean", "aux:{}_moving_var"):
            self.found[suffix.format(name)] = (x,)
        return x

    def relu(self, x: int, name: str) -> int:
        return x

    def convolution(self, x: int, name: str, filters: int, kernel: int, stride: int, pad: int) -> int:
        self.found[f"arg:{name}_weight"] = (filters, x, kernel, kernel)
        return filters

    def add(self, x: int, y: int, name: str) -> int:
        assert x == y
        return x

    def max_pool(self, x: int, name: str, kernel: int, stride: int, pad: int) -> int:
        return x

    def average(self, x: int, name: str) -> int:
        return x

    def dense(self, x: int, name: str, outputs: int) -> int:
        self.found[f"arg:{name}_weight"], self.found[f"arg:{name}_bias"] = (outputs, x), (outputs,)
        return outputs


def random_model(form: Architecture) -> ImageModel:
    """A network of which every parameter, the statistics of batch norm too, is a random number that matters."""
    shapes, random = _Shapes(), np.random.default_rng(form.num_layers)
    resnet(shapes, form.image_shape[0], form)
    arrays = {}
    for name, shape in shapes.found.items():
        spread = np.sqrt(2 / np.prod(shape[1:])) if name.endswith("weight") else 0.1
        values = random.normal(0, spread, shape)
        values = np.abs(values) + 0.5 if name.endswith(("gamma", "var")) else values
        arrays[name] = values.astype(np.float32)
    pixels = form.image_shape[0]
    arrays["aux:bn_data_moving_mean"] = np.full(pixels, 120, np.float32)
    arrays["aux:bn_data_moving_var"] = np.full(pixels, 3000, np.float32)
    return ImageModel(symbol.to_json(form), arrays, form.image_shape, epoch=3, batch=8)


FORMS = [
    Architecture(20, (3, 16, 20), 3),
    Architecture(32, (3, 28, 28), 4, multi_label=True),
    Architecture(20, (1, 64, 64), 2),
    Architecture(18, (3, 24, 24), 2),
    Architecture(50, (3, 65, 71), 5),
]

LOADED = """
pixels = np.load('pixels.npy')
sym, args, aux = mx.model.load_checkpoint('image-classification', EPOCH)
mod = mx.mod.Module(symbol=sym, data_names=['data'], label_names=None)
mod.bind(for_training=False, data_shapes=[('data', pixels.shape)])
mod.set_params(args, aux, allow_missing=True)
mod.forward(mx.io.DataBatch([mx.nd.array(pixels)]), is_train=False)
out['module'] = mod.get_outputs()[0].asnumpy()
"""
SYMBOL_BLOCK = """
net = mx.gluon.nn.SymbolBlock(outputs=sym, inputs=mx.sym.var('data'))
net.load_parameters('image-classification-0003.params', allow_missing=True, ignore_extra=True)
net.collect_params().initialize()
out['block'] = net(mx.nd.array(pixels)).asnumpy()
names = sym.list_arguments()
out['internals'] = np.array(['flatten0_output' in sym.get_internals().list_outputs(), names[-1] == 'softmax_label'])
"""


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.num_layers}-{form.image_shape}")
def test_mxnet_predicts_what_is_served(python: Path, tmp_path: Path, form: Architecture) -> None:
    served = random_model(form)
    served.save(tmp_path)
    channels, height, width = form.image_shape
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(file, "PNG")
    np.save(tmp_path / "pixels.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32))
    out = in_mxnet(python, tmp_path, LOADED.replace("EPOCH", "3") + SYMBOL_BLOCK)
    answer = model.load(tmp_path).predict(Items([file.getvalue()]))["prediction"][0].tolist()
    assert len(answer) == form.num_classes
    assert np.ptp(answer) > 1e-3  # or else the comparison would say little
    np.testing.assert_allclose(answer, out["module"][0], rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(answer, out["block"][0], rtol=1e-3, atol=2e-5)
    assert out["internals"].all()


LENET = """
mx.random.seed(0)
x = mx.sym.Pooling(mx.sym.Activation(mx.sym.Convolution(
    mx.sym.var('data'), kernel=(5, 3), num_filter=6, stride=(2, 1), pad=(1, 0), name='c1'), act_type='relu'),
    kernel=(2, 2), stride=(2, 2), pool_type='max')
x = mx.sym.Convolution(x, kernel=(3, 3), num_filter=8, no_bias=True, name='c2')
x = mx.sym.BatchNorm(x, fix_gamma=False, name='b')
x = mx.sym.broadcast_add(x, mx.sym.Pooling(x, global_pool=True, kernel=(1, 1), pool_type='avg'))
x = mx.sym.Activation(mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=10, name='f1'), act_type='sigmoid')
net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Dropout(x), num_hidden=4, name='f2'), name='softmax')
mod = mx.mod.Module(net)
mod.bind([('data', (1, 3, 17, 22))], [('softmax_label', (1,))], for_training=False)
mod.init_params(mx.init.Xavier(magnitude=12))
args, aux = mod.get_params()
mx.model.save_checkpoint('image-classification', 1, net, args, {'b_moving_mean': aux['b_moving_mean'] + 3,
    'b_moving_var': aux['b_moving_var'] * 700})
"""


def test_a_network_of_another_form_answers_as_mxnet_does(python: Path, tmp_path: Path) -> None:
    """A dense layer over many positions counts them channel by channel."""
    pixels = np.random.default_rng(0).integers(0, 256, (17, 22, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32))
    (tmp_path / "model-shapes.json").write_text('[{"name": "data", "shape": [1, 3, 17, 22]}]')
    out = in_mxnet(python, tmp_path, LENET + LOADED.replace("EPOCH", "1"))
    answer = model.load(tmp_path).predict(Items([pixels]))["prediction"][0]
    assert np.ptp(answer) > 1e-2
    np.testing.assert_allclose(answer, out["module"][0], rtol=1e-3, atol=2e-5)


READ_OTHERWISE = """
def saved(name, x):
    mod = mx.mod.Module(x, label_names=None)
    mod.bind([('data', (1, 3, 6, 5))], for_training=False)
    mx.random.seed(0)
    mod.init_params(mx.init.Xavier(magnitude=9))
    os.makedirs(name)
    mod.save_checkpoint(name + '/image-classification', 1)
    mod.forward(mx.io.DataBatch([mx.nd.array(np.load('pixels.npy'))]), is_train=False)
    out[name] = mod.get_outputs()[0].asnumpy().ravel()

def dense(x): return mx.sym.FullyConnected(x, num_hidden=4, name='f')
data = mx.sym.BatchNorm(mx.sym.var('data'), eps=5000, name='b')
maps = mx.sym.Pooling(mx.sym.Convolution(data, kernel=(3, 3), num_filter=4, name='c'), global_pool=True, kernel=(1, 1),
                      pool_type='avg')
saved('plain', mx.sym.softmax(dense(data), axis=1, temperature=1))
saved('maps over channels', mx.sym.softmax(maps, axis=1))
saved('maps', mx.sym.softmax(maps))
saved('temperature', mx.sym.softmax(dense(data), temperature=3))
saved('rows', mx.sym.softmax(dense(data), axis=0))
saved('integers', mx.sym.softmax(dense(mx.sym.Cast(mx.sym.Cast(data, dtype='int32'), dtype='float32'))))
saved('always', mx.sym.softmax(dense(mx.sym.Dropout(data, mode='always'))))
"""


def test_what_changes_an_answer_is_heeded_or_refused(python: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32))
    answered = []
    for name, expected in in_mxnet(python, tmp_path, READ_OTHERWISE).items():
        (tmp_path / name / "model-shapes.json").write_text('[{"name": "data", "shape": [1, 3, 6, 5]}]')
        with contextlib.suppress(ModelError):
            found = model.load(tmp_path / name).predict(Items([pixels]))["prediction"][0]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5, err_msg=name)
            answered.append(name)
    assert answered == ["plain", "maps over channels"]


# A residual network as its authors draw it, written here in MXNet's own API; trained until its running
# statistics are those of the images. The names are those of the parameters that MXNet's networks have.
THEIRS = """
def norm(x, name, **more): return mx.sym.BatchNorm(x, fix_gamma=False, eps=2e-5, momentum=0.9, name=name)
def conv(x, name, f, k, s): return mx.sym.Convolution(x, num_filter=f, kernel=(k, k), stride=(s, s),
                                                      pad=(k // 2, k // 2), no_bias=True, name=name)
def act(x, name): return mx.sym.Activation(x, act_type='relu', name=name)

x = mx.sym.BatchNorm(mx.sym.identity(mx.sym.Variable('data'), name='id'), fix_gamma=True, eps=2e-5, name='bn_data')
x = conv(x, 'conv0', 16, 3, 1)
for stage, filters in enumerate((16, 32, 64), 1):
    for unit in range(1, 4):
        name, stride = 'stage%d_unit%d' % (stage, unit), 2 if stage > 1 and unit == 1 else 1
        first = act(norm(x, name + '_bn1'), name + '_relu1')
        y = conv(first, name + '_conv1', filters, 3, stride)
        y = conv(act(norm(y, name + '_bn2'), name + '_relu2'), name + '_conv2', filters, 3, 1)
        if unit == 1:
            x = mx.sym.Convolution(first, num_filter=filters, kernel=(1, 1), stride=(stride, stride), no_bias=True,
                                   name=name + '_sc')
        x = y + x
x = mx.sym.Pooling(act(norm(x, 'bn1'), 'relu1'), global_pool=True, kernel=(7, 7), pool_type='avg', name='pool1')
x = mx.sym.FullyConnected(mx.sym.Flatten(x), num_hidden=2, name='fc1')
x = mx.sym.SoftmaxOutput(x, name='softmax')

pixels = np.load('pixels.npy')
mod = mx.mod.Module(x)
mod.bind([('data', (8, 3, 16, 16))], [('softmax_label', (8,))])
mx.random.seed(0)
mod.init_params(mx.init.Xavier('gaussian', 'in', 2))
mod.init_optimizer(optimizer='sgd', optimizer_params={'learning_rate': 0.003})
for step in range(60):
    mod.forward_backward(mx.io.DataBatch([mx.nd.array(pixels)], [mx.nd.array(np.arange(8) % 2)]))
    mod.update()
mod.save_checkpoint('image-classification', 7)
"""


def test_a_checkpoint_of_mxnet_serves_and_is_trained_on(python: Path, tmp_path: Path) -> None:
    files = [picture(number % 2, number, (16, 16)) for number in range(8)]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    np.save(tmp_path / "pixels.npy", pixels.transpose(0, 3, 1, 2).astype(np.float32))
    out = in_mxnet(python, tmp_path, THEIRS + LOADED.replace("EPOCH", "7"))
    shapes = [{"name": "data", "shape": [8, 3, 16, 16]}]
    (tmp_path / "model-shapes.json").write_text(json.dumps(shapes))
    loaded = ImageClassification.load(tmp_path)
    for file, expected in zip(files, out["module"], strict=True):
        found = loaded.predict(Items([file]))["prediction"][0].tolist()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    sample = SAMPLES["image-classification"]
    values = parse(ImageClassification.hyperparameters, {**sample.hyperparameters, "learning_rate": "0"})
    with eagerly():
        again = ImageClassification.fit(values, {**sample.channels(tmp_path), "model": tmp_path}, FakeJob())
    before, after = loaded.arrays, again.arrays
    np.testing.assert_array_equal(after["arg:stage3_unit2_conv1_weight"], before["arg:stage3_unit2_conv1_weight"])
    assert set(after) == set(before)


RECORDS = """
single = mx.recordio.MXRecordIO('single.rec', 'w')
several = mx.recordio.MXIndexedRecordIO('several.idx', 'several.rec', 'w')
for number in range(16):
    image = open('%d.png' % number, 'rb').read()
    single.write(mx.recordio.pack(mx.recordio.IRHeader(0, number % 2, number, 0), image))
    label = np.array([number % 2, 1, 0], np.float32)
    several.write_idx(number, mx.recordio.pack(mx.recordio.IRHeader(3, label, number, 0), image))
single.close(), several.close()
magic = mx.recordio.MXRecordIO('magic.rec', 'w')  # a frame's magic word inside a record: it is cut in two
magic.write(mx.recordio.pack(mx.recordio.IRHeader(0, 1, 5, 0), b'abcd' + bytes.fromhex('0a23d7ce') + b'efgh'))
magic.close()
"""


def test_records_that_mxnet_writes_are_trained_on(python: Path, tmp_path: Path) -> None:
    files = [picture(number % 2, number, (20, 18)) for number in range(16)]
    for number, file in enumerate(files):
        (tmp_path / f"{number}.png").write_bytes(file)
    in_mxnet(python, tmp_path, RECORDS)
    single, several = (RecordFile(tmp_path / f"{name}.rec", name) for name in ("single", "several"))
    assert [single.read(number) for number in range(16)] == [several.read(number) for number in range(16)] == files
    assert [labels.tolist() for labels in single.labels] == [[number % 2] for number in range(16)]
    assert [labels.tolist() for labels in several.labels] == [[number % 2, 1, 0] for number in range(16)]
    magic = RecordFile(tmp_path / "magic.rec", "magic")
    assert (magic.read(0), magic.labels[0].tolist()) == (b"abcd" + bytes.fromhex("0a23d7ce") + b"efgh", [1])

    sample = SAMPLES["image-classification"].hyperparameters | {"num_training_samples": "16"}
    for name, more in (("single", {}), ("several", {"multi_label": "1", "num_classes": "3"})):
        folder = tmp_path / f"channel-{name}"
        folder.mkdir()
        (folder / f"{name}.rec").write_bytes((tmp_path / f"{name}.rec").read_bytes())
        channel = Records(folder=folder)
        values = parse(ImageClassification.hyperparameters, sample | more)
        with eagerly():
            trained = ImageClassification.fit(values, {"train": channel, "validation": channel}, FakeJob())
        (tmp_path / name).mkdir()
        trained.save(tmp_path / name)
        pixels = np.asarray(Image.open(io.BytesIO(files[1])).resize((16, 16), Image.Resampling.BILINEAR))
        np.save(tmp_path / name / "pixels.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32))
        out = in_mxnet(python, tmp_path / name, LOADED.replace("EPOCH", "1"))
        np.testing.assert_allclose(trained.probabilities(files[1]), out["module"][0], rtol=1e-3, atol=1e-5)


def test_a_zip_is_no_checkpoint(tmp_path: Path) -> None:
    random_model(FORMS[0]).save(tmp_path)
    with zipfile.ZipFile(tmp_path / "image-classification-0003.params", "w") as archive:
        archive.writestr("params", b"")
    with pytest.raises(model.ModelError, match="not an MXNet NDArray file"):
        ImageClassification.load(tmp_path)


PUBLISHED = """
sym = mx.sym.load('resnet-18-symbol.json')
arg_shapes, _, aux_shapes = sym.infer_shape(data=(1, 3, 224, 224))
arrays = {'arg:' + name: mx.nd.random.normal(0, 0.05, shape) for name, shape in zip(sym.list_arguments(), arg_shapes)
          if name not in ('data', 'softmax_label')}
arrays.update({'aux:' + name: mx.nd.ones(shape) for name, shape in zip(sym.list_auxiliary_states(), aux_shapes)})
mx.nd.save('resnet-18-0000.params', arrays)
out['conv0'] = arrays['arg:conv0_weight'].asnumpy()
"""


def test_a_published_checkpoint_of_mxnet_is_fetched_and_trained_on(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the public one: 18 layers of 1,000 classes at 224 pixels, written by MXNet, from a server on loopback."""
    form = Architecture(18, (3, 224, 224), 1000)
    (tmp_path / "resnet-18-symbol.json").write_text(symbol.to_json(form))
    expected = in_mxnet(python, tmp_path, PUBLISHED)["conv0"]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        address = server.at("/resnet-18-0000.params", (tmp_path / "resnet-18-0000.params").read_bytes())
        done = CliRunner().invoke(oba, ["pretrained", "resnet-18", "--address", address])
        server.shutdown()
    assert done.exit_code == 0, done.output
    given = {"num_layers": 18, "image_shape": "3,64,64", "resize": 64, "use_pretrained_model": 1, "learning_rate": 0}
    values = parse(
        ImageClassification.hyperparameters,
        SAMPLES["image-classification"].hyperparameters | {name: str(value) for name, value in given.items()},
    )
    records = [encode_record(picture(number % 2, number), [number % 2]) for number in range(16)]
    with eagerly():
        channels = {"train": Records(records), "validation": Records(records[:4])}
        found = ImageClassification.fit(values, channels, FakeJob())
    np.testing.assert_array_equal(found.arrays["arg:conv0_weight"], expected)
    assert found.arrays["arg:fc1_weight"].shape == (values.num_classes, 512)
