"""The networks of MXNet's Gluon model zoo, as it exports them, opened here: its answers and a step, by MXNet 1.9.1.

Their weights are random, as the published ones cannot be had by tests; what they compute with is as published.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from algorithms.image_classification import fit as fitting
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import ImageModel
from algorithms.image_classification.pretrained import find
from algorithms.interface import Items
from algorithms.vision.pipeline import ImageBatch
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import eagerly
from tests.interop.environments import python_of
from tests.interop.test_mxnet import REQUIREMENTS
from tests.interop.test_mxnet_images import in_mxnet
from tests.interop.test_mxnet_starts import values

pytestmark = [pytest.mark.slow, pytest.mark.ci]

RATE = 0.001
SIDES = {"squeezenet1.1": 224, "densenet121": 224, "inceptionv3": 299}
"""Pixels of a side, where the network is for one size alone."""
NAMES = (
    *("alexnet", "vgg11_bn", "squeezenet1.1", "densenet121", "inceptionv3"),
    *("mobilenet0.25", "mobilenetv2_0.25", "resnet18_v1"),
)

# Before each network a batch norm prepares the pixels. There is no dropout, whose random numbers would be others, and
# batch norms have the statistics of these images, and keep them: by those of three images an error of rounding grows a
# thousandfold from layer to layer. (test_mxnet_starts.py has statistics move.)
ZOO = """
from mxnet.gluon.model_zoo import vision
pixels, labels = np.load('pixels.npy').astype(np.float32), np.load('labels.npy')
mx.random.seed(0)
net = vision.get_model(NAME, classes=4)
net.initialize(mx.init.MSRAPrelu(slope=0))
net.apply(lambda block: getattr(block, '_kwargs', {}).update(momentum=0) if 'norm' in block.name else None)
net.hybridize()
with mx.autograd.record():
    said = net(mx.nd.array((pixels - 127) / 64))
said.backward()  # which moves the statistics
mx.nd.waitall()
text = net(mx.sym.BatchNorm(mx.sym.var('data'), use_global_stats=True, eps=0.001, name='in')).tojson()
text = text.replace('"p": "0.5"', '"p": "0"').replace('"momentum": "0"', '"momentum": "0.9"')
symbol = mx.sym.load_json(text.replace('"use_global_stats": "False"', '"use_global_stats": "True"'))
arrays = {name: value.data() for name, value in net.collect_params().items()}
arrays.update(in_gamma=mx.nd.ones(3), in_beta=mx.nd.zeros(3), in_moving_mean=mx.nd.full(3, 127))
arrays.update(in_moving_var=mx.nd.full(3, 64 * 64))
args, aux = ({name: arrays[name] for name in names if name in arrays}
             for names in (symbol.list_arguments(), symbol.list_auxiliary_states()))
mx.model.save_checkpoint('model', 0, symbol, args, aux)
mod = mx.mod.Module(mx.sym.SoftmaxOutput(symbol, name='softmax'))
mod.bind([('data', pixels.shape)], [('softmax_label', labels.shape)])
mod.set_params(args, aux)
mod.init_optimizer(optimizer='sgd', optimizer_params={'learning_rate': RATE, 'momentum': 0.9, 'wd': 0.0})
batch = mx.io.DataBatch([mx.nd.array(pixels)], [mx.nd.array(labels)])
mod.forward(batch, is_train=False)
out['evaluated'] = mod.get_outputs()[0].asnumpy()
mod.forward_backward(batch)
mod.update()
mx.nd.waitall()
args, aux = mod.get_params()
out.update({'arg:' + name: array.asnumpy() for name, array in args.items()})
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_the_zoo(tmp_path: Path, name: str) -> None:
    side = SIDES.get(name, 128)
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (3, side, side, 3), np.uint8), np.array([0, 1, 3])
    np.save(tmp_path / "pixels.npy", pixels.transpose(0, 3, 1, 2))
    np.save(tmp_path / "labels.npy", labels.astype(np.float32))
    expected = in_mxnet(python_of("mxnet", REQUIREMENTS), tmp_path, f"NAME, RATE = {name!r}, {RATE}" + ZOO)
    form = Architecture(20, (3, side, side), 4)
    start = find(form, tmp_path, pretrained=True)
    assert start is not None and start.symbol is not None
    served = ImageModel(start.symbol, start.arrays, form.image_shape, 1, 3).predict(Items(list(pixels)))["prediction"]
    np.testing.assert_allclose(served, expected["evaluated"], rtol=1e-4, atol=1e-4)
    options = values(image_shape=f"3,{side},{side}", learning_rate=RATE, momentum=0.9, weight_decay=0)
    with eagerly():
        trainer = fitting.Trainer(options, form, FakeJob(), start.symbol)
        trainer.start_from(start._replace(random=()))
        trainer._step(ImageBatch(pixels, labels.astype(np.int32), 3))
    found, errors = trainer.parameters(), {}
    for array in expected.keys() & found.keys():
        moved, theirs = found[array] - start.arrays[array], expected[array] - start.arrays[array]
        errors[array] = np.linalg.norm(moved - theirs) / max(np.linalg.norm(theirs), 1e-5 * theirs.size**0.5)
    assert max(errors.values()) < 0.06  # where a ReLU is at 0 for the one, it need not be for the other
    assert np.median(list(errors.values())) < 0.03
