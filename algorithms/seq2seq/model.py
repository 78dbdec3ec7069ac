"""The trained model and its artifact, the folder of a Sockeye 1.x model as far as it is known:

params.best        the parameters of the best checkpoint, an MXNet dictionary of arrays named ``arg:<name>``
config             the architecture and how targets are searched, JSON
vocab.src.json, vocab.trg.json    the vocabularies
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.common import mxnet_files
from algorithms.common.documents import read_json_file
from algorithms.errors import ModelError
from algorithms.figures import Figure, Sample
from algorithms.interface import NO_PARAMETERS, Items, Model
from algorithms.seq2seq import architecture, requests, shown, vocabulary
from algorithms.seq2seq.architecture import Architecture
from algorithms.seq2seq.beam import Hypothesis
from algorithms.seq2seq.translator import Translator
from algorithms.seq2seq.vocabulary import Vocabulary
from recordio.sequences import Pairs

PARAMETERS_FILE, CONFIG_FILE = "params.best", "config"
_PREFIX = "arg:"
_FORMAT = "seq2seq 1"
_MOST_PROBLEMS = 5  # that a message names


@dataclass(frozen=True)
class Seq2SeqModel(Model):
    """Attributes:
    translator: the network. source, target: the vocabularies. beam_size: hypotheses kept of each sentence.
    held_out: validation pairs for the page about the job; the artifact does not hold them.
    """

    translator: Translator
    source: Vocabulary
    target: Vocabulary
    beam_size: int
    held_out: Pairs | None = None

    def predict(self, batch: Items, parameters: Mapping[str, str] = NO_PARAMETERS) -> dict[str, list[Any]]:
        """``target``, n texts; ``tokens``, their ids; ``matrix``, attention of shape (target tokens, source tokens)
        for the items whose parameters have ``attention_matrix`` true, or for all where the request's have it. Of a
        source without tokens the target has none, as Sockeye answers: a blank line refuses no other.

        Raises:
            PredictionError: there is no source, or one is not of the vocabulary.
        """
        longest = self.translator.architecture.max_seq_len_source
        sources = requests.sources(batch.values, self.source, longest)
        wanted = requests.matrices(batch, parameters)
        filled = [number for number, ids in enumerate(sources) if len(ids)]
        found = [Hypothesis(np.empty(0, np.int32), 0.0, np.empty((0, 0)))] * len(sources)
        translated = self.translator.translate([sources[at] for at in filled], self.beam_size, weights=any(wanted))
        for at, hypothesis in zip(filled, translated, strict=True):
            found[at] = hypothesis
        made: dict[str, list[Any]] = {
            "target": [self.target.text(hypothesis.tokens) for hypothesis in found],
            "tokens": [np.asarray(hypothesis.tokens, np.int32) for hypothesis in found],
        }
        if any(wanted):
            made["matrix"] = [
                np.round(one.weights.astype(float), requests.DIGITS) if asked else None
                for one, asked in zip(found, wanted, strict=True)
            ]
        return made

    def figures(self, sample: Sample | None) -> list[Figure]:
        """Translations of validation pairs."""
        return [] if self.held_out is None else shown.figures(self, self.held_out)

    def save(self, directory: Path) -> None:
        """Write the four files."""
        config = {
            "format": _FORMAT,
            "architecture": dataclasses.asdict(self.translator.architecture),
            "beam_size": self.beam_size,
            "length_ratio": self.translator.ratio,
        }
        arrays = {_PREFIX + name: value for name, value in self.translator.parameters.items()}
        mxnet_files.save(directory / PARAMETERS_FILE, arrays)
        (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2), "utf-8")
        (directory / vocabulary.SOURCE_FILE).write_text(self.source.to_json(), "utf-8")
        (directory / vocabulary.TARGET_FILE).write_text(self.target.to_json(), "utf-8")


def load(directory: Path) -> Seq2SeqModel:
    """The model that ``save`` wrote.

    Raises:
        ModelError: a file is missing or broken, or they do not fit each other.
    """
    config = _read_config(directory / CONFIG_FILE)
    source, target = (_read(directory / name) for name in (vocabulary.SOURCE_FILE, vocabulary.TARGET_FILE))
    shape = _architecture(config.get("architecture"))
    if (len(source), len(target)) != (shape.source_vocabulary, shape.target_vocabulary):
        raise ModelError(
            f"the vocabularies have {len(source)} and {len(target)} tokens, "
            f"but the model was trained with {shape.source_vocabulary} and {shape.target_vocabulary}"
        )
    parameters = _parameters(directory / PARAMETERS_FILE, shape)
    beam, ratio = config.get("beam_size"), config.get("length_ratio")
    if (
        type(beam) is not int
        or not 1 <= beam < 1 << 31
        or type(ratio) is bool
        or not isinstance(ratio, (int, float))
        or not 0 < ratio < 1e6
    ):
        raise ModelError(f"'{CONFIG_FILE}': beam_size is {beam} and length_ratio {ratio}; both must be positive")
    return Seq2SeqModel(Translator(shape, parameters, float(ratio)), source, target, beam)


def recognises(directory: Path) -> bool:
    """Whether the folder has parameters and our config."""
    try:
        _read_config(directory / CONFIG_FILE)
    except ModelError:
        return False
    return (directory / PARAMETERS_FILE).is_file()


def _read_config(file: Path) -> dict[str, Any]:
    config = read_json_file(file)
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise ModelError(f"'{file.name}' is not the configuration of a seq2seq model written here")
    return config


def _read(file: Path) -> Vocabulary:
    try:
        return vocabulary.read(file)
    except OSError as error:
        raise ModelError(f"the model folder has no readable file '{file.name}': {error.strerror}") from error
    except ValueError as error:
        raise ModelError(str(error)) from None


_CHOICES = {
    "encoder_type": ("rnn", "cnn"),
    "decoder_type": ("rnn", "cnn"),
    "rnn_cell_type": ("lstm", "gru"),
    "rnn_attention_type": ("dot", "fixed", "mlp", "bilinear"),
    "rnn_decoder_state_init": ("last", "avg", "zero"),
    "cnn_activation_type": ("glu", "relu", "softrelu", "sigmoid", "tanh"),
}


def _architecture(values: Any) -> Architecture:
    fields = {field.name: field.type for field in dataclasses.fields(Architecture)}
    if not isinstance(values, dict) or values.keys() != fields.keys():
        raise ModelError(f"'{CONFIG_FILE}': \"architecture\" must be an object with {', '.join(fields)}")
    for name, value in values.items():
        kinds = {"int": type(value) is int and 0 < value < 1 << 31, "bool": type(value) is bool, "str": False}
        if not (kinds[str(fields[name])] or (isinstance(value, str) and value in _CHOICES.get(name, ()))):
            raise ModelError(f"'{CONFIG_FILE}': {name} cannot be {str(value)[:40]!r}")
    if "rnn" in (values["encoder_type"], values["decoder_type"]) and values["rnn_num_hidden"] % 2:
        raise ModelError(f"'{CONFIG_FILE}': rnn_num_hidden is {values['rnn_num_hidden']}, which has no half")
    return Architecture(**values)


def _parameters(file: Path, shape: Architecture) -> Mapping[str, np.ndarray]:
    found = mxnet_files.shapes(file)
    if not isinstance(found, dict):
        raise ModelError(f"'{file.name}' must be a dictionary of arrays")
    layers = shape.num_layers_encoder + shape.num_layers_decoder
    if layers > len(found):  # each has several arrays; a list of the arrays of a billion layers would take gigabytes
        raise ModelError(f"'{CONFIG_FILE}' describes {layers} layers, but '{file.name}' has {len(found)} arrays")
    if problems := architecture.check(shape, {name.removeprefix(_PREFIX): sizes for name, sizes in found.items()}):
        raise ModelError(f"'{file.name}': {'; '.join(problems[:_MOST_PROBLEMS])}")
    arrays = mxnet_files.load(file)
    assert isinstance(arrays, dict)
    named = {
        name.removeprefix(_PREFIX): mxnet_files.float32(value, f"'{file.name}': array {name}")
        for name, value in arrays.items()
    }
    return {name: named[name] for name in architecture.shapes(shape)}
