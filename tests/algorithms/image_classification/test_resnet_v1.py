"""Checkpoints of torchvision's and Keras' ResNets, converted: they say what PyTorch and Keras say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from algorithms.common import safetensors
from algorithms.common.networks import load_keras, to_numpy
from algorithms.errors import ModelError
from algorithms.image_classification import resnet_v1
from algorithms.image_classification.model import ImageModel, load_arrays
from local.commands import oba

PIXELS = np.random.default_rng(0).integers(0, 256, (70, 64, 3), np.uint8)


def written(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A safetensors file, by its format's description alone."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    kinds, data = {"float32": "F32", "float16": "F16", "int64": "I64"}, b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        kind = kinds[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def torchvision_resnet(layers: int, classes: int) -> Any:
    """As torchvision.models.resnet has it: the same computation, the same names."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    units = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[layers]
    wide = layers >= 50

    def conv(inputs: int, outputs: int, side: int, stride: int = 1) -> Any:
        return nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)

    class Unit(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            outputs = 4 * width if wide else width
            shapes = (
                [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
                if wide
                else [(inputs, width, 3, stride), (width, width, 3, 1)]
            )
            self.count = len(shapes)
            for number, shape in enumerate(shapes, start=1):
                setattr(self, f"conv{number}", conv(*shape))
                setattr(self, f"bn{number}", nn.BatchNorm2d(shape[1]))
            self.downsample = None
            if stride != 1 or inputs != outputs:
                self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            y = x
            for number in range(1, self.count + 1):
                y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
                y = torch.relu(y) if number < self.count else y
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class ResNet(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1, inputs = conv(3, 64, 7, 2), nn.BatchNorm2d(64), 64
            for stage, count in enumerate(units):
                width, made = 64 << stage, []
                for unit in range(count):
                    made.append(Unit(inputs, width, 2 if stage and not unit else 1))
                    inputs = 4 * width if wide else width
                setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
            self.fc = nn.Linear(inputs, classes)

        def forward(self, x: Any) -> Any:
            x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            for stage in range(1, 5):
                x = getattr(self, f"layer{stage}")(x)
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    made = ResNet().eval()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return made


def answer(folder: Path, layers: int) -> np.ndarray:
    text = (folder / f"resnet-{layers}-symbol.json").read_text()
    arrays = load_arrays(folder / f"resnet-{layers}-0000.params")
    return ImageModel(text, arrays, (3, *PIXELS.shape[:2]), 1, 1).probabilities(PIXELS)


@pytest.mark.parametrize("layers", [18, 50])
def test_torchvision(tmp_path: Path, layers: int) -> None:
    torch = pytest.importorskip("torch")
    network = torchvision_resnet(layers, 7)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(written({name: value.numpy() for name, value in network.state_dict().items()}))
    done = CliRunner().invoke(oba, ["pretrained", "--from", str(file), "--output", str(tmp_path / "start")])
    assert done.exit_code == 0, done.output
    assert f"model={tmp_path / 'start'} use_pretrained_model=1 num_layers={layers}" in done.output
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of its documentation
    image = torch.tensor(((PIXELS / 255 - mean) / deviation).transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.no_grad():
        expected = torch.softmax(network(image), 1)[0].numpy()
    found = answer(tmp_path / "start", layers)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def of_keras() -> tuple[Any, np.ndarray]:
    """Keras' network with numbers in all of its arrays, and what it answers to the image."""
    keras = load_keras(0)
    network = keras.applications.ResNet50(weights=None, classes=6, input_shape=PIXELS.shape)
    random = np.random.default_rng(0)
    for variable in network.variables:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(random.normal(0, 0.1, variable.shape))
        elif variable.name == "moving_variance":
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
    prepare = keras.applications.resnet.preprocess_input
    return network, to_numpy(network(prepare(PIXELS[None].astype(np.float32)), training=False))[0]


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of Keras, which writes so
@pytest.mark.parametrize("name", ["kept.weights.h5", "kept.h5"])
def test_keras(tmp_path: Path, name: str, of_keras: tuple[Any, np.ndarray]) -> None:
    h5py = pytest.importorskip("h5py")
    network, expected = of_keras
    if name.endswith(".weights.h5"):
        network.save_weights(tmp_path / name)
    else:  # as its published files are
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["layer_names"] = [layer.name for layer in network.layers]
            for layer in network.layers:
                group = file.create_group(layer.name)
                names = [f"{layer.name}/{variable.name}:0" for variable in layer.weights]
                group.attrs["weight_names"] = names
                for each, variable in zip(names, layer.weights, strict=True):
                    group[each] = to_numpy(variable)
    resnet_v1.convert(tmp_path / name, tmp_path)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(answer(tmp_path, 50), expected, rtol=1e-3, atol=1e-5)


def small() -> dict[str, np.ndarray]:
    """A network of 10 layers, four channels wide."""
    arrays: dict[str, np.ndarray] = {"fc.weight": np.ones((3, 4), np.float32), "fc.bias": np.ones(3, np.float32)}
    layers = {"": (3, 7)} | {f"layer{stage}.0.": (4, 3) for stage in range(1, 5)}
    for prefix, (inputs, side) in layers.items():
        for number in (1, 2) if prefix else (1,):
            arrays[f"{prefix}conv{number}.weight"] = np.ones((4, inputs, side, side), np.float32)
            for suffix in ("weight", "bias", "running_mean", "running_var"):
                arrays[f"{prefix}bn{number}.{suffix}"] = np.ones(4, np.float32)
        if prefix and prefix != "layer1.0.":
            arrays[f"{prefix}downsample.0.weight"] = np.ones((4, 4, 1, 1), np.float32)
            arrays |= {f"{prefix}downsample.1.{suffix}": np.ones(4, np.float32) for suffix in ("weight", "bias")}
            arrays |= {f"{prefix}downsample.1.running_{suffix}": np.ones(4, np.float32) for suffix in ("mean", "var")}
    return arrays


def without(name: str) -> bytes:
    return written({key: array for key, array in small().items() if key != name})


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


ENTRY = b'{"fc.bias": {"dtype": "F32", "shape": [%s], "data_offsets": [0, %s]}}'
FIRST = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
SECOND = FIRST.replace(b"[0, 4]", b"[4, 8]")

REFUSED = {
    "pickle": (b"\x80\x02}q\x00.", "is a pickle or an archive, which may run what is in it"),
    "archive": (b"PK\x03\x04" + bytes(30), "safetensors.torch.save_file"),
    "empty": (b"", "is not a safetensors file, or is cut short"),
    "length": (b"\xff" * 9, "is not a safetensors file, or is cut short"),
    "text": (header(b"[]"), "its header is no object"),
    "no JSON": (header(b"{"), "not a JSON document"),
    "entry": (header(b'{"fc.bias": 3}'), "cannot be used|can be used"),
    "beyond": (header(ENTRY % (b"1000000000", b"4000000000")), "arrays up to byte 4000000000, and there are 0"),
    "negative": (header(ENTRY % (b"-1", b"-4")), "from byte 0 to -4"),
    "negative shape": (header(ENTRY % (b"-1", b"0")), "a shape of"),
    "many dimensions": (header(ENTRY % (b"1" + b",1" * 8, b"4")) + bytes(4), "a shape of"),
    "cut short": (written(small())[:-1], "and there are"),
    "overlapping": (header(b'{"a": %s, "b": %s}' % (FIRST, FIRST)) + bytes(4), "not from byte 4"),
    "twice": (header(b'{"a": %s, "a": %s}' % (FIRST, SECOND)) + bytes(8), "from byte 4 to 8, not from byte 0"),
    "bytes left": (header(b'{"a": %s}' % FIRST) + bytes(8), "up to byte 4, and there are 8"),
    "long header": (header(b"{" + b" " * (1 << 22) + b"}"), "4,194,304 are the most here"),
    "no fc": (without("fc.weight"), "it lacks 'fc1_weight'"),
    "no variance": (without("bn1.running_var"), "it lacks 'bn0_moving_var'"),
    "no shortcut": (without("layer2.0.downsample.0.weight"), "there is no place for 'stage2_unit1_sc_bn_"),
    "more": (written(small() | {"layer1.0.se.weight": np.ones(1, np.float32)}), "an array 'layer1.0.se.weight', which"),
    "groups": (written(small() | {"layer1.0.conv1.weight": np.ones((4, 2, 3, 3), np.float32)}), "its weight"),
    "flat": (written(small() | {"conv1.weight": np.ones(4, np.float32)}), "it lacks 'conv0_weight'"),
    "infinite": (written(small() | {"fc.bias": np.full(3, np.inf, np.float32)}), "NaN, infinite"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "is not an HDF5 file that can be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_such_network_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    (tmp_path / "weights").write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        resnet_v1.convert(tmp_path / "weights", tmp_path / "start")
    assert not (tmp_path / "start").exists()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("link", "has its 'linked' in other files"),
        ("external", "has its '/dense' in other files"),
        ("virtual", "has its '/dense' in other files"),
        ("null", "is not of Keras' ResNet50, ResNet101 or ResNet152"),
        ("no class", "is not of Keras' ResNet50, ResNet101 or ResNet152"),
        ("wide", "is not of Keras' ResNet50, ResNet101 or ResNet152"),
    ],
)
def test_hdf5_neither_reads_other_files_nor_takes_memory_by_claim(tmp_path: Path, kind: str, reason: str) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(8192))
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for number in range(53):
            file.create_dataset(f"convolution{number}", (1, 1, 1, 1))
        if kind == "link":
            file["linked"] = h5py.ExternalLink("secret", "x")
        elif kind == "external":
            file.create_dataset("dense", (2048, 1), "f4", external=[(tmp_path / "secret", 0, 8192)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2048, 1), "f4")
            layout[:] = h5py.VirtualSource("secret", "x", (2048, 1))
            file.create_virtual_dataset("dense", layout)
        elif kind == "null":
            file["dense"] = h5py.Empty("f4")
        else:  # what Keras would make of the wide one has 800 GB
            file.create_dataset(
                "dense", (2048, 0) if kind == "no class" else (1, 10**8), chunks=(1, 1000), maxshape=(None, None)
            )
    with pytest.raises(ModelError, match=reason):
        resnet_v1.convert(tmp_path / "weights.h5", tmp_path / "start")


def test_a_conversion_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(written(small()))
    start = tmp_path / "start"
    start.mkdir()
    (start / "resnet-10-0000.params").write_bytes(b"of before")

    def full(target: Path, _: Any) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("algorithms.common.mxnet_files.save", full)
        resnet_v1.convert(tmp_path / "weights", start)
    assert {path.name: path.read_bytes() for path in start.iterdir()} == {"resnet-10-0000.params": b"of before"}
    assert resnet_v1.convert(tmp_path / "weights", start) == 10
    assert sorted(path.name for path in start.iterdir()) == ["resnet-10-0000.params", "resnet-10-symbol.json"]


def test_half_precision_and_counters(tmp_path: Path) -> None:
    """Counters are left out; a bfloat16 is the upper half of a float32."""
    halves = {name: array.astype(np.float16) for name, array in small().items()}
    (tmp_path / "weights").write_bytes(written(halves | {"bn1.num_batches_tracked": np.array(7)}))
    assert resnet_v1.convert(tmp_path / "weights", tmp_path) == 10
    entry = b'{"x": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}'
    found = safetensors.load(header(entry) + np.array([1.5, -3], "<f4").tobytes()[2:4] + b"\x40\xc0", "x")["x"]
    np.testing.assert_array_equal(found, np.float32([[1.5, -3]]))
