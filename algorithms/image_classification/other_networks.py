"""Training from a checkpoint of another network than ``architecture.resnet``: MXNet's symbol file describes it.

``prepared`` turns a checkpoint's symbol file into that of this job's artifact: the same network with a last layer for
the classes of the job. ``build`` makes the Keras network of it. Serving must be able to run the symbol, so a network
that it would refuse, or that is too large for its parameters, is refused before anything is built.

Training has the same operators as serving, except a softmax before the end and a stop of gradients. Batch norm is as in
MXNet: with ``use_global_stats`` its statistics do not change, with ``fix_gamma`` its gamma is 1. ``__lr_mult__`` and
other hints that a node may have besides its operator's attributes are ignored.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algorithms.common import mxnet_symbols
from algorithms.errors import ModelError
from algorithms.image_classification.architecture import Architecture
from algorithms.image_classification.symbol import SIGMOID, SOFTMAX
from algorithms.image_classification.symbol_layers import DENSE, SHARES, TRAINED, Layers, share
from algorithms.vision.costs import check_stated
from algorithms.vision.graph import (
    HEADS,
    IDENTITIES,
    INPUT,
    PRODUCTS,
    SCALARS,
    Graph,
    Node,
    count,
    flag,
    read_graph,
)
from algorithms.vision.inference import Network
from recordio.limits import MOST_TRAINED_NODES

_OF_WEIGHT = {"Convolution": "num_filter", DENSE: "num_hidden"}
"""Operators with a weight, and the attribute that says how many outputs it has."""
_AFTER_LAST = SCALARS | {"Flatten", "Pooling", "Activation", "LeakyReLU", "clip", "Dropout"}
"""What may stand between the last layer with a weight and the scores: operators without parameters for each class."""
_LEFT_OUT = IDENTITIES - {"Dropout", "BlockGrad"}
"""Operators without effect in float32."""
_HINTS = frozenset({"ctx_group", "lr_mult", "wd_mult", "force_mirroring", "mirror_stage"})
"""Attributes that old symbol files have beside those of an operator; newer ones write them between underscores."""
_SUFFIXES: dict[str, tuple[str, ...]] = {
    "Convolution": ("arg:weight", "arg:bias"),
    DENSE: ("arg:weight", "arg:bias"),
    "BatchNorm": ("arg:gamma", "arg:beta", "aux:moving_mean", "aux:moving_var"),
}
"""The parameters of an operator, in the order of its inputs: their kind in a checkpoint, and ``network``'s name."""
_SLOPES = ("arg:gamma",)
"""Those of a LeakyReLU that learns its slopes."""
_BETWEEN = 2
"""Arrays of the size of their result that a gelu or an LRN keeps for the gradient, besides its input: TensorFlow kept
3.3 in all for each of 50 in a row."""
_ONE = str((1,))  # as symbol files say shapes


class Start(NamedTuple):
    """What training starts from.

    Attributes:
        symbol: the symbol file of the artifact. arrays: those that it reads. random: names of those of them that are to
            be random. kept: bytes of what a step keeps of each image at least, to find the gradients of weights.
    """

    symbol: str
    arrays: dict[str, np.ndarray]
    random: tuple[str, ...]
    kept: int


def prepared(path: Path, arrays: Mapping[str, np.ndarray], form: Architecture, *, pretrained: bool) -> Start:
    """The network of a symbol file, for the classes of a job.

    Args:
        path: a symbol file; it may end in probabilities or in the scores of its last layer.
        arrays: its checkpoint, ``arg:`` and ``aux:`` before the names.
        pretrained: the last layer is made anew, for ``form.num_classes``.

    Raises:
        ModelError: it cannot be read, trained or served, or has other classes than the job and is not ``pretrained``.
    """
    try:
        graph = read_graph(path.read_text(), path.name, heads=None)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"'{path.name}' cannot be read: {error}") from None
    last, scores = _last_layer(graph, path.name)
    classes = _weight(graph, graph.nodes[last], arrays).shape[0]
    if not pretrained and classes != form.num_classes:
        raise ModelError(f"'{path.name}' has num_classes {classes}, this job {form.num_classes}; they must be the same")
    writer = _Writer(graph, arrays, last, scores, form)
    text = writer.written()
    made = read_graph(text, path.name)
    try:
        network = Network(made, {name[4:]: array for name, array in writer.used.items()}, form.image_shape)
        if network.classes != form.num_classes:
            raise ModelError(f"it gives {network.classes} scores instead of one for each of the classes")
    except ModelError as error:
        shape = ",".join(map(str, form.image_shape))
        raise ModelError(f"training cannot start from '{path.name}' with image_shape {shape}: {error}") from None
    return Start(text, writer.used, writer.of_last if pretrained else (), _kept(made, network.shapes))


def _kept(graph: Graph, shapes: Mapping[int, tuple[int, ...]]) -> int:
    """The bytes, float32, of what layers with weights, batch norms, normalisations, leaky activations and products
    read, of one image, and of what some compute on their way: gradients are found by it."""
    kinds = {*_SUFFIXES, *PRODUCTS, "LeakyReLU", "LRN"}
    known = [number for number in shapes if graph.nodes[number].operator in kinds]
    read = {at for number in known for at in graph.sources(number)}
    between = sum(math.prod(shapes[number]) * _BETWEEN for number in known if _is_composed(graph.nodes[number]))
    return 4 * (sum(math.prod(shapes[at]) for at in read) + between)


def _is_composed(node: Node) -> bool:
    """Whether training computes it by several operators, each of which keeps its input for the gradient."""
    return node.operator == "LRN" or node.attributes.get("act_type") == "gelu"


def _last_layer(graph: Graph, name: str) -> tuple[int, int]:
    """The last node with a weight, which has an output for each class, and the node that gives the scores."""
    scores = graph.head
    while graph.nodes[scores].operator in HEADS or graph.nodes[scores].operator in _LEFT_OUT:
        (scores,) = graph.sources(scores)
    found = scores
    while graph.nodes[found].operator in _AFTER_LAST and not _learns_slopes(graph.nodes[found]):
        (found,) = graph.sources(found)
    node = graph.nodes[found]
    if node.operator not in _OF_WEIGHT or count(node, "num_group", 1) != 1:
        raise ModelError(
            f"'{name}' has '{node.name[:80]}', a '{node.operator[:80]}', before its end; training needs a last layer "
            f"that is a {DENSE} or a Convolution, not in groups, with an output for each class"
        )
    return found, scores


def _learns_slopes(node: Node) -> bool:
    return node.operator == "LeakyReLU" and node.attributes.get("act_type") == "prelu"


def _weight(graph: Graph, node: Node, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The weight of a convolution or a dense layer; it has at least one dimension."""
    name = graph.nodes[node.inputs[1]].name if len(node.inputs) > 1 else ""
    weight = arrays.get(f"arg:{name}")
    if weight is None or not weight.ndim:
        raise ModelError(f"the checkpoint has no parameter 'arg:{name[:80]}', the weight of '{node.name[:80]}'")
    return weight


def _parameters(graph: Graph, at: int) -> Iterator[tuple[str, str]]:
    """The name in the checkpoint of each parameter of the node ``at``, and what ``network`` would call it.

    Raises:
        ModelError: the node lacks inputs, or one of them is computed.
    """
    node = graph.nodes[at]
    suffixes = _SLOPES if _learns_slopes(node) else _SUFFIXES.get(node.operator, ())
    if node.operator in _OF_WEIGHT and flag(node, "no_bias", False):
        suffixes = suffixes[:1]
    inputs = node.inputs[1 : 1 + len(suffixes)]
    if len(inputs) < len(suffixes) or any(graph.nodes[each].operator != INPUT for each in inputs):
        raise ModelError(f"node '{node.name[:80]}' ({node.operator}) of the symbol file lacks parameters")
    for each, suffix in zip(inputs, suffixes, strict=True):
        kind, _, name = suffix.partition(":")
        yield f"{kind}:{graph.nodes[each].name}", f"{kind}:{_layer_name(at)}_{name}"


class _Writer:
    """Says a graph again, for the classes of a job.

    Attributes:
        used: the arrays that the new graph reads; those of the last layer zeros where they have another shape.
        of_last: the names of the last layer's.
    """

    def __init__(
        self, graph: Graph, arrays: Mapping[str, np.ndarray], last: int, scores: int, form: Architecture
    ) -> None:
        self._graph, self._arrays, self._form = graph, arrays, form
        self._last, self._scores = last, scores
        self._made = mxnet_symbols.Graph()
        self.used: dict[str, np.ndarray] = {}
        self.of_last: tuple[str, ...] = ()
        self._taken = {"data", "softmax_label"}
        self._splits: dict[tuple[object, ...], int] = {}

    def written(self) -> str:
        """The symbol file. Raises ModelError where a node cannot be trained."""
        reached = self._graph.reached()
        if len(reached) > MOST_TRAINED_NODES:
            raise ModelError(f"the symbol file has {len(reached)} operators; {MOST_TRAINED_NODES} are the most here")
        if (taken := sum(len(self._graph.sources(at)) for at in reached)) > MOST_TRAINED_NODES:
            raise ModelError(f"its operators take {taken} values; {MOST_TRAINED_NODES} are the most here")
        done: dict[int, mxnet_symbols.Source] = {}
        for at in reached:
            node = self._graph.nodes[at]
            if node.operator == INPUT:
                done[at] = self._made.variable(node.name)
            elif node.operator in _LEFT_OUT:
                done[at] = done[self._graph.sources(at)[0]]
            elif at <= self._scores:
                done[at] = self._add(at, [done[source] for source in self._graph.sources(at)])
        scores = done[self._scores]
        if self._graph.nodes[self._scores].operator not in (DENSE, "Flatten"):
            scores = self._made.add("Flatten", "flatten_scores", scores)
        head = SIGMOID if self._form.multi_label else SOFTMAX
        return self._made.to_json(self._made.add(head, "softmax", scores, self._made.variable("softmax_label")))

    def _add(self, at: int, sources: list[mxnet_symbols.Source]) -> mxnet_symbols.Source:
        node = self._graph.nodes[at]
        if node.operator not in TRAINED:
            raise ModelError(f"{node.place} is a '{node.operator[:80]}', which cannot be trained here")
        for attribute in SHARES.get(node.operator, {}):
            share(node, attribute)
        names = tuple(name for name, _ in _parameters(self._graph, at))
        attributes: dict[str, object] = {
            key: value for key, value in node.attributes.items() if not key.startswith("__") and key not in _HINTS
        }
        for name in names:
            if name not in self._arrays:
                raise ModelError(f"the checkpoint has no parameter '{name[:80]}'")
            if name[4:] in self._taken:
                raise ModelError(f"the parameter '{name[:80]}' is read by several nodes, which cannot be trained here")
            self._taken.add(name[4:])
            self.used[name] = self._arrays[name]
        if node.operator in _OF_WEIGHT:
            check_stated(node, _OF_WEIGHT[node.operator], _weight(self._graph, node, self._arrays).shape[0])
        if at == self._last:
            self.of_last = names
            for name in names:
                shape = self._form.num_classes, *self._arrays[name].shape[1:]
                if shape != self._arrays[name].shape:
                    self.used[name] = np.zeros(shape, np.float32)
        if node.operator in _OF_WEIGHT:
            attributes[_OF_WEIGHT[node.operator]] = _weight(self._graph, node, self.used).shape[0]
        # Unless told otherwise, MXNet assumes that a LeakyReLU learns a slope for each channel.
        shapes = [self._arrays[name].shape if _learns_slopes(node) else None for name in names]
        parameters = [self._made.variable(name[4:], shape) for name, shape in zip(names, shapes, strict=True)]
        if node.operator == "SliceChannel":
            return self._split(node, sources, attributes), node.output
        return self._made.add(node.operator, node.name, *sources, *parameters, **attributes)

    def _split(self, node: Node, sources: list[mxnet_symbols.Source], attributes: Mapping[str, object]) -> int:
        """The one node of all the parts of a value."""
        what = node.name, *sources, *attributes.items()
        if what not in self._splits:
            self._splits[what] = self._made.add(node.operator, node.name, *sources, **attributes)
        return self._splits[what]


# ---- in Keras -------------------------------------------------------------------------------------------------------


def names(graph: Graph) -> dict[str, str]:
    """What checkpoints call the parameters of the network that ``build`` makes: see ``network.parameters``."""
    return {own: name for at in graph.reached() for name, own in _parameters(graph, at)}


def build(
    keras: Any, graph: Graph, image_shape: tuple[int, int, int], decay: float = 0.0, precision: str = "float32"
) -> Any:
    """The network of a symbol file that ``prepared`` made, with random weights: from uint8 pixels (n, height, width,
    channels) to scores (n, classes), before softmax or sigmoid. Arguments as of ``network.build``."""
    channels, height, width = image_shape
    pixels = keras.Input((height, width, channels), dtype="uint8", name="data")
    layers, values = Layers(keras, decay, precision), dict[int, Any]()
    for at in graph.reached()[:-1]:
        node = graph.nodes[at]
        if node.operator == INPUT:
            values[at] = keras.layers.Rescaling(1.0, dtype=precision, name="pixels")(pixels)
        else:
            layers.name = _layer_name(at)
            layers.precision = "float32" if at == graph.sources(graph.head)[0] else precision
            layers.slopes = int(
                _learns_slopes(node) and graph.nodes[node.inputs[1]].attributes.get("__shape__") == _ONE
            )
            values[at] = layers.of(node, *(values[source] for source in graph.sources(at)))
    with _deep(len(values)):
        return keras.Model(pixels, values[graph.sources(graph.head)[0]], name="network")


@contextlib.contextmanager
def _deep(layers: int) -> Iterator[None]:
    """Allow deep recursion: Keras follows a network from its end to its beginning by one or more calls for each
    layer."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + 4 * layers)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


def _layer_name(at: int) -> str:
    """A name for the layer of the node ``at``, whose own name may have characters that Keras' names may not."""
    return f"node{at}"
