"""Jobs of image classification: every form of input, what is kept, where they start, and what is refused."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow
from PIL import Image

from algorithms.common import mxnet_files
from algorithms.errors import ChannelError, HyperparameterError, ModelError, TrainingDataError, TrainingStopped
from algorithms.events import Duration, Score, Throughput
from algorithms.hyperparameters import parse
from algorithms.image_classification import ImageClassification, targets
from algorithms.image_classification import pretrained as starts
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.model import ImageModel
from algorithms.interface import Items
from algorithms.vision import augment, examples, pipeline
from container.training import dialects
from recordio.errors import DataError, ImageError
from recordio.framing import write_frame
from recordio.images import encode_record
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import SAMPLES, Records, eagerly, picture, pictures

SMALL = SAMPLES["image-classification"].hyperparameters | {"mini_batch_size": "12"}
FILES = [picture(number % 2, number) for number in range(12)]


@pytest.fixture(autouse=True)
def _eagerly() -> Iterator[None]:
    with eagerly(shallow=True):
        yield


@pytest.fixture
def deep() -> Iterator[None]:
    """All layers, for what is said of them."""
    with eagerly():
        yield


def fit(channels: dict[str, Any] | None = None, job: FakeJob | None = None, **given: object) -> ImageModel:
    values = parse(ImageClassification.hyperparameters, SMALL | {name: str(value) for name, value in given.items()})
    channels = {"train": Records(pictures(12)), "validation": Records(pictures(4))} | (channels or {})
    return ImageClassification.fit(values, channels, job or FakeJob())


def folder(path: Path, records: list[bytes]) -> Records:
    path.mkdir()
    with (path / "data.rec").open("wb") as file:
        for record in records:
            write_frame(file, record)
    (path / "data.lst").write_text("what im2rec leaves beside")
    return Records(folder=path)


# ---- learning and logs ----------------------------------------------------------------------------------------------


def test_it_learns_which_half_is_red(tmp_path: Path) -> None:
    tensorflow.config.run_functions_eagerly(False)  # enough steps that compiling pays
    job = FakeJob()
    channels = {"train": folder(tmp_path / "train", pictures(48)), "validation": folder(tmp_path / "val", pictures(20))}
    model = fit(channels, job, num_training_samples=48, epochs=9, learning_rate=0.02, mini_batch_size=16, top_k=2)
    accuracies = job.values("validation", "accuracy")
    assert max(accuracies) >= 0.9
    answers = [np.argmax(model.probabilities(picture(number % 2, 1000 + number))) for number in range(20)]
    assert np.mean(np.array(answers) == np.arange(20) % 2) >= 0.8
    held_out = [np.argmax(model.probabilities(picture(number % 2, number))) for number in range(20)]
    assert job.scores["validation", "accuracy"] == np.mean(np.array(held_out) == np.arange(20) % 2)
    assert set(job.values(metric="top_k_accuracy_2")) == {1.0}  # of two classes
    best = next(epoch for epoch, accuracy in enumerate(accuracies) if accuracy == max(accuracies))
    assert model.checkpoint == job.saved[-1] == f"image-classification-{best + 1:04d}.params"
    stored = [message for message in job.messages if message.startswith("Storing the best model")]
    assert stored[-1] == f"Storing the best model with validation accuracy: {max(accuracies):.6f}"
    assert len(stored) == len(job.saved) == len(job.intermediates)
    assert [event.step for event in job.of(Duration)] == list(range(9))


def test_lines_of_a_running_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    job = FakeJob()
    monkeypatch.setattr("algorithms.image_classification.fit._LOG_BATCHES", 1)
    fit(job=job, mini_batch_size=6)
    event = job.of(Throughput)[0]
    assert (event.epoch, event.batch, [score.metric for score in event.scores]) == (0, 1, ["accuracy"])
    ((line, _),) = dialects.find("mxnet")("", "").event(event)
    assert re.fullmatch(r"Epoch\[0\] Batch \[1\]\tSpeed: \d+\.\d{3} samples/sec\taccuracy=[01]\.\d{6}", line)


def test_training_scores_are_means_over_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    accuracies = iter([0.0, 0.75, 0.75])
    told = lambda *_, **__: {"loss": 1.0, "accuracy": next(accuracies)}  # noqa: E731
    monkeypatch.setattr(keras.Model, "train_on_batch", told)
    monkeypatch.setattr("algorithms.image_classification.fit._LOG_BATCHES", 1)
    job = FakeJob()
    fit(job=job, mini_batch_size=4)
    assert [[(score.metric, score.value) for score in event.scores] for event in job.of(Throughput)] == [
        [("accuracy", 0.375)],
        [("accuracy", 0.5)],
    ]
    assert job.measured()[0] == (0, Score("train", "accuracy", 0.5, maximize=True))


# ---- forms of input -------------------------------------------------------------------------------------------------


def test_image_files_with_a_list(tmp_path: Path) -> None:
    channels: dict[str, Any] = {}
    for name in ("train", "validation"):
        images, lists = tmp_path / name, tmp_path / f"{name}_lst"
        (images / "some").mkdir(parents=True)
        lists.mkdir()
        for number, file in enumerate(FILES):
            (images / "some" / f"{number}.png").write_bytes(file)
        lines = [f"{number}\t{number % 2}\tsome/{number}.png\n" for number in range(12)]
        (lists / f"{name}.lst").write_text("".join(lines))
        channels |= {name: Records(media_type="application/x-image", folder=images), f"{name}_lst": lists}
    assert fit(channels, resize=18).image_shape == (3, 16, 16)
    assert fit(channels).image_shape == (3, 16, 16)  # they are as large, as AWS's notebook on lists has them
    with pytest.raises(ImageError, match=r"less than image_shape's 24 x 24; set the hyperparameter resize"):
        fit(channels, image_shape="3,24,24")
    (tmp_path / "train" / "some" / "3.png").unlink()
    with pytest.raises(TrainingDataError, match=r"train.lst: line 4: there is no file 'some/3.png' in channel 'train'"):
        fit(channels, resize=18)
    (tmp_path / "train_lst" / "b.lst").write_text("1\t0\tx.png")
    with pytest.raises(ChannelError, match="must have one .lst file, and has 2"):
        fit(channels, resize=18)
    del channels["train_lst"]
    with pytest.raises(ChannelError, match="Channel 'train_lst' is missing: application/x-image in File mode"):
        fit(channels, resize=18)
    (tmp_path / "train" / "a.rec").write_bytes(b"records")
    with pytest.raises(
        ChannelError, match="'a.rec' looks like records of images: their ContentType is application/x-rec"
    ):
        fit(channels)


def manifest(labels: list[str]) -> Records:
    records = [part for file, label in zip(FILES, labels, strict=False) for part in (file, label.encode())]
    return Records(records, media_type="image/png", wrapped=True)


def test_an_augmented_manifest_with_one_label() -> None:
    channel = manifest(["0", '"1"'] * 6)
    fit({"train": channel, "validation": manifest(["1"] * 3)}, resize=16, epochs=2)
    assert channel.epochs_begun == 2  # a pipe has one FIFO for each epoch


@pytest.mark.parametrize(
    ("label_format", "labels"), [("multi-hot", ["[1, 0, 1]", "[0, 0, 0]"]), ("class-id", ["[0, 2]", "[]"])]
)
def test_an_augmented_manifest_with_several_labels(label_format: str, labels: list[str]) -> None:
    channels = {"train": manifest(labels * 6), "validation": manifest(labels * 2)}
    for channel in channels.values():
        channel.parameters = {"label-format": label_format}
    job = FakeJob()
    model = fit(channels, job, resize=16, multi_label=1, num_classes=3, use_weighted_loss=1)
    answer = model.predict(Items([FILES[0]]))["prediction"][0].tolist()
    assert len(answer) == 3
    assert all(0 <= probability <= 1 for probability in answer)
    assert model.graph.multi_label
    hits = [round(value * 12, 5) for value in job.values("validation")]
    assert hits == [int(hits[0])]  # accuracy is of 4 images times 3 classes


def test_pipes_without_labels_are_refused() -> None:
    bare = Records(FILES, media_type="image/png")
    with pytest.raises(ChannelError, match="Channel 'train': image/png in Pipe mode needs an augmented manifest"):
        fit({"train": bare})
    unlike = Records(pictures(12), parameters={"label-format": "one-hot"})
    with pytest.raises(ChannelError, match="label-format 'one-hot' is not one of multi-hot, class-id"):
        fit({"train": unlike})


@pytest.mark.parametrize(
    "options",
    [
        {"image_shape": "1,16,16", "augmentation_type": "crop_color_transform"},
        {"precision_dtype": "float16", "augmentation_type": "crop_color", "resize": "20"},
        {"kv_store": "dist_sync", "augmentation_type": "crop_color_transform", "resize": "24"},
    ],
)
def test_other_options(options: dict[str, str]) -> None:
    job = FakeJob()
    fit(job=job, **options)
    if "precision_dtype" in options:
        assert any("there is no GPU" in message for message in job.messages)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "error", "reason"),
    [
        (encode_record(FILES[0], [2]), TrainingDataError, "record 12: the label 2 is not a class from 0 to 1"),
        (encode_record(FILES[0], [0.5]), TrainingDataError, "record 12: the label 0.5 is not a class"),
        (encode_record(FILES[0], [np.nan]), TrainingDataError, "record 12: the label nan is not a class"),
        (
            encode_record(FILES[0], [0, 1]),
            TrainingDataError,
            "record 12: 2 labels where one is expected; set multi_label",
        ),
        (encode_record(FILES[0][:300], [1]), ImageError, "record 12: the PNG image is damaged"),
        (encode_record(picture(0, 0, (40, 15)), [1]), ImageError, "record 12: the image has 40 x 15 pixels"),
        (b"short", ImageError, "record 12: a record of 5 bytes"),
    ],
)
@pytest.mark.parametrize("mode", ["file", "pipe"])
def test_a_bad_record_is_named(tmp_path: Path, mode: str, record: bytes, error: type[Exception], reason: str) -> None:
    records = [*pictures(12), record]
    channel = folder(tmp_path / "train", records) if mode == "file" else Records(records)
    with pytest.raises(error, match=f"train.*{reason}"):
        fit({"train": channel})


def test_labels_of_several_classes_must_be_zeros_and_ones() -> None:
    with pytest.raises(
        TrainingDataError, match=r"record \d+: the labels \[[01]\] are not 2 \(num_classes\) times 0 or 1"
    ):
        fit(multi_label=1)
    form = Architecture(20, (3, 16, 16), 3, multi_label=True)
    np.testing.assert_array_equal(targets.target(np.array([2.0, 0, 1]), "here", form), [1, 0, 1])  # as AWS's notebook
    for wrong in (0.5, -1, np.nan, np.inf):
        with pytest.raises(TrainingDataError, match="times 0 or 1"):
            targets.target(np.array([wrong, 0, 1]), "here", form)


def test_too_few_images(tmp_path: Path) -> None:
    for channel in (folder(tmp_path / "train", pictures(5)), Records(pictures(5))):
        with pytest.raises(TrainingDataError, match="bigger or equal to the mini_batch_size.* 5"):
            fit({"train": channel})
    job = FakeJob()
    fit({"train": folder(tmp_path / "more", pictures(10))}, job, mini_batch_size=10)
    assert job.warnings == ["num_training_samples is 12; channel 'train' has 10 images"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"num_layers": 19}, "'num_layers': 19 is not one of 18, 34"),
        ({"image_shape": "224"}, "'224' is not three integers"),
        ({"image_shape": "4,16,16"}, "4 channels"),
        ({"image_shape": "3,2,16"}, "height and width must be from 8"),
        ({"resize": 10}, "'resize': 10 is less than"),
        ({"lr_scheduler_step": "a"}, "'a' is not integers"),
        ({"lr_scheduler_step": "10,5"}, "ascending"),
        ({"top_k": 2, "multi_label": 1}, "'top_k' has no meaning with multi_label"),
        ({"checkpoint_frequency": 2}, "'checkpoint_frequency': 2 is more than epochs"),
        ({"mini_batch_size": 13}, "bigger or equal to the mini_batch_size"),
        ({"optimizer": "adam", "beta_1": 1}, "'beta_1': 1 would leave out"),
    ],
)
def test_hyperparameters_that_cannot_be(given: dict[str, object], reason: str) -> None:
    with pytest.raises(HyperparameterError, match=reason):
        fit(**given)


def test_hyperparameters_without_effect_are_told() -> None:
    job = FakeJob()
    fit(job=job, top_k=5, use_weighted_loss=1)
    assert set(job.values(metric="top_k_accuracy_5")) == {1.0}
    assert job.warnings == [
        "use_weighted_loss has no effect without multi_label",
        "top_k is 5, more than num_classes, 2: top_k_accuracy is always 1",
    ]


def test_a_loss_that_is_not_finite_ends_the_job() -> None:
    with pytest.raises(TrainingDataError, match="training diverged: .* is nan; try a learning_rate below 1"):
        fit(optimizer="rmsprop", learning_rate=1, eps=0, gamma=0, epochs=30)


def test_a_last_step_that_diverges_leaves_no_model() -> None:
    job = FakeJob()
    with pytest.raises(
        TrainingDataError, match="training diverged: a score of channel 'validation' after epoch 0 is nan"
    ):
        fit(job=job, optimizer="rmsprop", gamma=1, eps=0, epochs=1, mini_batch_size=12)
    assert not job.intermediates


# ---- what is kept ---------------------------------------------------------------------------------------------------


def test_every_nth_epoch_is_kept(tmp_path: Path) -> None:
    job = FakeJob()
    model = fit(job=job, epochs=5, checkpoint_frequency=2)
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.params")) == job.saved
    assert job.saved == ["image-classification-0002.params", "image-classification-0004.params"]
    assert ImageClassification.load(tmp_path).epoch == 4
    second, fourth = (mxnet_files.load(tmp_path / name) for name in job.saved)
    assert isinstance(second, dict) and isinstance(fourth, dict)
    assert not np.array_equal(second["arg:fc1_weight"], fourth["arg:fc1_weight"])


def test_a_stop_keeps_the_best_epoch_so_far() -> None:
    job = FakeJob(stop_after=3)
    model = fit(job=job, epochs=50)
    assert model is job.intermediates[-1]
    assert model.epoch <= 3
    with pytest.raises(TrainingStopped, match="before the first epoch"):
        fit(job=FakeJob(stop_after=0), epochs=50)


def test_early_stopping_ends_the_job() -> None:
    job = FakeJob()
    options = {"early_stopping_min_epochs": 2, "early_stopping_patience": 2, "early_stopping_tolerance": 0.9}
    model = fit(job=job, epochs=30, learning_rate=0, early_stopping="True", **options)
    by_epoch = {(step, score.dataset): score.value for step, score in job.measured(metric="accuracy")}
    for dataset in ("train", "validation"):
        assert job.scores[dataset, "accuracy"] == by_epoch[model.epoch - 1, dataset]
    assert len(job.values("validation")) < 8
    assert any(message.startswith("Early stopping after epoch") for message in job.messages)


# ---- where it starts ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    path = tmp_path_factory.mktemp("model")
    with eagerly():
        fit().save(path)
    return path


@pytest.mark.usefixtures("deep")
def test_training_goes_on_from_an_earlier_model(earlier: Path) -> None:
    model = fit({"model": earlier}, learning_rate=0)
    before = ImageClassification.load(earlier).arrays
    for name in ("arg:conv0_weight", "arg:fc1_weight", "arg:fc1_bias", "arg:stage3_unit3_bn2_gamma"):
        np.testing.assert_array_equal(model.arrays[name], before[name])
    assert not np.array_equal(model.arrays["aux:bn_data_moving_mean"], before["aux:bn_data_moving_mean"])


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"num_layers": 32}, "another network, of 20 layers; num_layers of this job is 32"),
        ({"num_classes": 3}, "num_classes 2, this job 3"),
        ({"image_shape": "3,16,18"}, "image_shape 3,16,16, this job 3,16,18"),
    ],
)
def test_an_earlier_model_must_match(earlier: Path, given: dict[str, object], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        fit({"model": earlier}, **given)


@pytest.mark.usefixtures("deep")
def test_pretrained_weights_by_channel_or_in_the_image(
    earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ImageClassification.load(earlier).arrays
    options = {"use_pretrained_model": 1, "num_classes": 5, "learning_rate": 0, "image_shape": "3,16,18"}
    with pytest.raises(ModelError, match="use_pretrained_model is 1, but this image has no .*resnet-20.params"):
        fit(**options)
    by_channel = fit({"model": earlier}, **options)
    monkeypatch.setattr(starts, "PRETRAINED", tmp_path)
    mxnet_files.save(tmp_path / "resnet-20.params", before)
    in_image = fit(**options)
    for model in (by_channel, in_image):
        np.testing.assert_array_equal(model.arrays["arg:conv0_weight"], before["arg:conv0_weight"])
        assert model.arrays["arg:fc1_weight"].shape == (5, 64)
    alone = tmp_path / "alone"
    alone.mkdir()
    with pytest.raises(ModelError, match="Channel 'model' must have one .params file, and has none"):
        fit({"model": alone}, **options)


# ---- the pipeline ---------------------------------------------------------------------------------------------------


def test_the_last_batch_is_filled_up_with_the_first_images(tmp_path: Path) -> None:
    form = Architecture(20, (3, 16, 16), 2)
    for source in (Records(pictures(10)), folder(tmp_path / "train", pictures(10))):
        found = examples.of_channel("train", {"train": source}, targets.of_channel("train", source, form))
        prepare = augment.Preparation(form.image_shape, None)
        batches = list(pipeline.Pipeline(found, prepare, 4, 0, shuffled=False).epoch(0))
        assert [batch.valid for batch in batches] == [4, 4, 2]
        np.testing.assert_array_equal(batches[2].images[2:], batches[0].images[:2])
        shuffled = pipeline.Pipeline(found, prepare, 4, 0, shuffled=True)
        for epoch in range(2):
            images = np.concatenate([batch.images[: batch.valid] for batch in shuffled.epoch(epoch)])
            known = {image.tobytes() for batch in batches for image in batch.images[: batch.valid]}
            assert {image.tobytes() for image in images} == known
            assert [image.tobytes() for image in images[:4]] != [image.tobytes() for image in batches[0].images]


@pytest.mark.parametrize("kept", [0, 3, 10])
def test_decoded_images_are_kept_as_far_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """And epochs are what they are without."""
    from algorithms.image_classification import targets
    from algorithms.image_classification.architecture import Architecture

    form, source = Architecture(20, (3, 8, 8), 2), folder(tmp_path / "train", pictures(10))
    found = examples.of_channel("train", {"train": source}, targets.of_channel("train", source, form))
    for kind in augment.KINDS:
        prepare = augment.Preparation(form.image_shape, 16, kind)
        room = kept * prepare.opened(next(found.epoch()).load(), "here").nbytes
        plain, keeping = (pipeline.Pipeline(found, prepare, 5, 0, shuffled=True, keep=each) for each in (0, room))
        expected = [batch.images for epoch in range(3) for batch in plain.epoch(epoch)]
        opened, decode = list[str](), augment.decode
        with monkeypatch.context() as patched:
            patched.setattr(augment, "decode", lambda *given, d=decode, o=opened: o.append(given[2]) or d(*given))
            images = [batch.images for epoch in range(3) for batch in keeping.epoch(epoch)]
        np.testing.assert_array_equal(images, expected)
        assert len(opened) == 10 + 2 * (10 - kept)


def test_a_batch_does_not_hold_the_whole_images_of_its_parts() -> None:
    """Of photographs that are not resized, the batches in work took gigabytes."""
    body, side = io.BytesIO(), 512
    Image.new("RGB", (side, side)).save(body, "PNG")
    each = [examples.Example(body.getvalue, np.int64(0), str(number)) for number in range(24)]
    found = examples.StoredExamples(each, "train")
    for kind in (augment.NONE, augment.CROP):
        batches = pipeline.Pipeline(found, augment.Preparation((3, 8, 8), None, kind), 24, 0, shuffled=False)
        tracemalloc.start()
        try:
            assert next(batches.epoch(0)).images.any() == 0
            assert tracemalloc.get_traced_memory()[1] < 8 * 3 * side**2
        finally:
            tracemalloc.stop()


def test_an_error_in_an_image_comes_out_of_the_pipeline() -> None:
    with pytest.raises(DataError, match="train: record 1"):
        fit({"train": Records([pictures(1)[0], encode_record(b"none", [0]), *pictures(12)])})


def test_missing_weights_are_found_before_anything_is_read_and_before_keras() -> None:
    """In a process of its own, which would fail at the first look at a channel."""
    program = """
import sys
from algorithms.errors import ModelError
from algorithms.image_classification import ImageClassification
from tests.algorithms.fakes import FakeJob
from tests.algorithms.samples import SAMPLES
from algorithms.hyperparameters import parse

class Unreadable(dict):
    def __getitem__(self, name):
        sys.exit("the channel was read")

strings = SAMPLES["image-classification"].hyperparameters | {"use_pretrained_model": "1"}
values = parse(ImageClassification.hyperparameters, strings)
try:
    ImageClassification.fit(values, Unreadable(), FakeJob())
except ModelError as error:
    print(error)
print(sorted({"tensorflow", "keras", "torch"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    first, loaded = done.stdout.splitlines()
    assert first.startswith("use_pretrained_model is 1, but this image has no"), done.stderr
    assert loaded == "[]"
