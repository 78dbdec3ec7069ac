"""Image classification on several hosts, which are threads here; ``tests/hosts`` has real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.errors import ChannelError, TrainingDataError, TrainingStopped
from algorithms.hyperparameters import parse
from algorithms.image_classification import ImageClassification, network
from algorithms.image_classification.losses import ClassWeights
from algorithms.image_classification.model import ImageModel
from algorithms.interface import Hosts
from recordio.framing import write_frame
from recordio.shares import ALL, Share
from tests.algorithms.fakes import FakeJob, on_hosts
from tests.algorithms.samples import SAMPLES, Records, eagerly, picture, pictures

SMALL = SAMPLES["image-classification"].hyperparameters | {"image_shape": "3,8,8", "epochs": "2"}
BUILD = network.build


@pytest.fixture(autouse=True)
def _eagerly() -> Iterator[None]:
    with eagerly(shallow=True):
        yield


def records(path: Path, found: list[bytes], **options: Any) -> Records:
    """A channel of one .rec file, or of none."""
    path.mkdir(parents=True, exist_ok=True)
    if found:
        with (path / "data.rec").open("wb") as file:
            for record in found:
                write_frame(file, record)
    return Records(folder=path, **options)


def fit(size: int, channels: Any, stop: dict[int, int] | None = None, **given: object) -> list[tuple[ImageModel, Any]]:
    """(model, job) of each host; ``channels`` makes those of a host, and ``stop`` says after how many readings hosts
    are asked to stop."""
    values = parse(ImageClassification.hyperparameters, SMALL | {name: str(value) for name, value in given.items()})

    def train(hosts: Hosts) -> tuple[ImageModel, Any]:
        job = FakeJob(hosts=hosts, stop_after=(stop or {}).get(hosts.rank))
        return ImageClassification.fit(values, channels(hosts), job), job

    return on_hosts(size, train)


def spread(tmp_path: Path, parts: list[list[bytes]], validation: list[list[bytes]] | None = None) -> Any:
    """Channels whose files are spread over the hosts."""

    def channels(hosts: Hosts) -> dict[str, Any]:
        return {
            name: records(tmp_path / f"{name}{hosts.rank}", mine[hosts.rank], share=ALL, may_be_empty=True)
            for name, mine in (("train", parts), ("validation", validation or parts))
        }

    return channels


def assert_same(found: list[tuple[ImageModel, Any]]) -> None:
    """All hosts have the same network, and have measured the same."""
    first, job = found[0]
    for model, other in found[1:]:
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(model.arrays[name], array, err_msg=name)
        assert other.measured() == job.measured()
        assert (model.checkpoint, other.saved) == (first.checkpoint, job.saved)


def test_hosts_with_the_same_images_make_the_steps_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To float error, of steps of as many images in all; batch norms, which see the batch of their host, are held."""

    def build(keras: Any, *arguments: Any) -> Any:
        found, random = BUILD(keras, *arguments), np.random.default_rng(5)
        for layer in found.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
            for variable in layer.trainable_variables:  # TensorFlow's random numbers are the process's
                size = np.sqrt(2 / np.prod(variable.shape[:-1]))
                variable.assign(size * random.standard_normal(variable.shape))
        pixels = found.get_layer("bn_data")
        pixels.moving_mean.assign(np.full(3, 80.0))
        pixels.moving_variance.assign(np.full(3, 5000.0))
        return found

    monkeypatch.setattr(network, "build", build)

    folder = records(tmp_path, pictures(24)).folder

    def channels(hosts: Hosts) -> dict[str, Any]:
        images = Records(folder=folder, share=Share(hosts.rank, hosts.size))
        return {"train": images, "validation": images}

    given: dict[str, Any] = {"num_training_samples": 24, "optimizer": "nag", "learning_rate": 0.001}
    ((one, job),) = fit(1, channels, mini_batch_size=12, **given)
    for size in (2, 3):
        several = fit(size, channels, mini_batch_size=12 // size, **given)
        assert_same(several)
        for name, array in one.arrays.items():
            np.testing.assert_allclose(several[0][0].arrays[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
        assert several[0][1].values() == pytest.approx(job.values())
        assert several[0][1].warnings == []  # the number of images is that of one host


def test_a_host_without_images_and_two_with_unlike_numbers(tmp_path: Path) -> None:
    """Batch norms included: what they keep is of all images, and nothing of what the first host has not seen."""
    some = pictures(13, tagged=True)
    channels = spread(tmp_path, [[], some[:4], some[4:]], [some[:2], [], []])
    given = {"mini_batch_size": 4, "multi_label": 1, "use_weighted_loss": 1, "checkpoint_frequency": 1}
    found = fit(3, channels, num_training_samples=13, **given)
    assert_same(found)
    assert [len(job.values("train", "accuracy")) for _, job in found] == [2, 2, 2]
    mean, variance = (found[0][0].arrays[f"aux:bn_data_moving_{name}"] for name in ("mean", "var"))
    assert (mean > 1).all()  # of pixels from 0 to 255
    assert (variance > 100).all()
    assert [job.warnings for _, job in found] == [[], [], []]


def test_the_weights_of_classes_are_of_the_images_of_all_hosts() -> None:
    targets = np.eye(3, dtype=np.float32)[[0, 0, 1, 0, 2, 0]]
    expected = ClassWeights(3).of(targets)
    first, second = on_hosts(2, lambda hosts: ClassWeights(3).of(targets[hosts.rank :: 2], hosts))
    np.testing.assert_array_equal(first, expected[::2])
    np.testing.assert_array_equal(second, expected[1::2])


def test_what_is_too_little_on_all_hosts_together(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="Channel 'train' has no images"):
        fit(2, spread(tmp_path / "a", [[], []]))
    with pytest.raises(TrainingDataError, match="there are 7 in channel 'train', and mini_batch_size is 8"):
        fit(2, spread(tmp_path / "b", [pictures(3), pictures(4)]))
    with pytest.raises(TrainingDataError, match="Channel 'validation' has no images"):
        fit(2, spread(tmp_path / "c", [pictures(3), pictures(5)], [[], []]))


def test_pipes_give_each_host_its_images(tmp_path: Path) -> None:
    """An augmented manifest, whose images and labels stay together; 9 images are 5 for one host and 4 for the other."""
    manifest = [part for number in range(9) for part in (picture(number % 2, number), str(number % 2).encode())]

    def channels(hosts: Hosts, count: int = 18) -> dict[str, Any]:
        options: Any = {"share": Share(hosts.rank, 2), "wrapped": True, "media_type": "image/png"}
        return {name: Records(manifest[:count], **options) for name in ("train", "validation")}

    found = fit(2, channels, mini_batch_size=2, resize=8, epochs=1)
    assert_same(found)
    with pytest.raises(TrainingDataError, match="an epoch has 3, and mini_batch_size is 4"):
        fit(2, lambda hosts: channels(hosts, 6), mini_batch_size=4, resize=8)


def test_image_files_that_are_spread_over_hosts_with_one_list(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "a.lst").write_text("".join(f"{number}\t{number % 2}\t{number}.png\n" for number in range(9)))
    for number in range(9):
        folder = tmp_path / f"images{number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.png").write_bytes(picture(number % 2, number))

    def channels(hosts: Hosts) -> dict[str, Any]:
        options: Any = {"media_type": "application/x-image", "may_be_empty": True}
        images = Records(folder=tmp_path / f"images{hosts.rank}", **options)
        return {"train": images, "validation": images, "train_lst": lists, "validation_lst": lists}

    assert_same(fit(2, channels, resize=8, num_training_samples=9, epochs=1))
    (tmp_path / "images1" / "5.png").unlink()
    with pytest.raises(TrainingDataError, match=r"a.lst: line 6: there is no file '5.png' in channel 'train'"):
        fit(2, channels, resize=8)
    (lists / "b.lst").write_text("1\t0\tx.png")
    with pytest.raises(ChannelError, match="must have one .lst file"):
        fit(2, channels, resize=8)


def test_a_stop_of_one_host_ends_all_at_the_same_step(tmp_path: Path) -> None:
    channels = spread(tmp_path, [pictures(8), pictures(2)])
    with pytest.raises(TrainingStopped):
        fit(2, channels, mini_batch_size=4, stop={1: 1})
    found = fit(2, channels, mini_batch_size=4, stop={0: 4}, epochs=9)
    assert_same(found)
    assert len(found[0][1].values("validation", "accuracy")) == 1
