"""Checkpoints of Gluon's model zoo, as real MXNet 1.9.1 writes them: converted, they predict what Gluon predicts."""

from __future__ import annotations

import ast
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from algorithms.common import mxnet_files
from algorithms.image_classification import gluon, symbol
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import ImageModel, load_arrays
from algorithms.interface import Items
from local.commands import oba
from tests.interop.environments import python_of, run_in_mxnet
from tests.interop.test_mxnet import REQUIREMENTS
from tests.local.test_pretrained import Server

pytestmark = pytest.mark.slow

LAYERS = 50
# Every parameter is a random number that matters. The two files are the two kinds that Gluon writes.
MADE = """
import os, sys
import numpy as np, mxnet as mx
from mxnet.gluon.model_zoo import vision
os.chdir(sys.argv[1])
pixels = np.load("pixels.npy")
net = vision.resnet50_v2()
net.initialize(mx.init.MSRAPrelu())
net(mx.nd.array(pixels))
random = np.random.RandomState(0)
for name, parameter in net.collect_params().items():
    if name.endswith(("gamma", "beta", "running_mean", "running_var")):
        if parameter.shape == (3,) and name.endswith(("gamma", "beta")):
            continue  # of the first batch norm, which has neither
        value = random.normal(0, 0.1, parameter.shape)
        parameter.set_data(mx.nd.array(np.abs(value) + 0.5 if name.endswith(("gamma", "var")) else value))
net.save_parameters("structure.params")
net.collect_params().save("counted.params", strip_prefix=net.prefix)
mean, deviation = (np.array(x).reshape(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
scores = net(mx.nd.array((pixels / 255 - mean) / deviation))
np.save("answer.npy", mx.nd.softmax(scores).asnumpy()[0])
from mxnet.gluon.model_zoo import model_store
print({name: digest for name, digest in model_store._model_sha1.items() if name.endswith("_v2")})
print(model_store._url_format.format(repo_url=model_store.apache_repo_url, file_name="FILE"))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the files, and what MXNet says of those that are published."""
    folder = tmp_path_factory.mktemp("gluon")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 44, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    np.save(folder / "pixels.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32))
    return folder, run_in_mxnet(python_of("mxnet", REQUIREMENTS), MADE, folder)


def test_what_is_fetched_predicts_what_gluon_predicts(
    made: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = made[0], (made[0] / "counted.params").read_bytes()
    monkeypatch.setitem(gluon.PUBLISHED, LAYERS, hashlib.sha1(data).hexdigest())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("resnet50_v2-0.params", data)
    words = ["pretrained", "resnet-50", "--gluon", "--output", str(tmp_path), "--address"]
    with Server.running() as server:
        done = CliRunner().invoke(oba, [*words, server.at("/zoo.zip", archive.getvalue())])
    assert done.exit_code == 0, done.output
    form = Architecture(LAYERS, (3, 40, 44), 1000)
    arrays = load_arrays(tmp_path / "resnet-50.params")
    network = ImageModel(symbol.to_json(form), arrays, form.image_shape, epoch=1, batch=1)
    answer = network.predict(Items([(folder / "image.png").read_bytes()]))["prediction"][0]
    expected = np.load(folder / "answer.npy")
    assert np.ptp(np.log(expected)) > 1  # or else the comparison would say little
    np.testing.assert_allclose(np.log(answer), np.log(expected), atol=5e-3)
    of_the_other_kind = gluon.converted(mxnet_files.load(folder / "structure.params"), LAYERS)
    assert of_the_other_kind.keys() == arrays.keys()
    assert all(np.array_equal(of_the_other_kind[name], array) for name, array in arrays.items())


def test_digests_and_addresses_are_those_of_mxnet(made: tuple[Path, str]) -> None:
    digests, address = made[1].splitlines()
    published = ast.literal_eval(digests)
    assert {f"resnet{layers}_v2": digest for layers, digest in gluon.PUBLISHED.items()}.items() <= published.items()
    for layers, digest in gluon.PUBLISHED.items():
        assert gluon.address(layers) == address.replace("FILE", f"resnet{layers}_v2-{digest[:8]}")
