"""How time and memory grow: one thing 1, 4 and 16 times as large, all else the same, for all nine algorithms.

    python -m benchmarks.growth                         # a quarter of an hour; --only kmeans lda for some
    python -m benchmarks.growth --quick                 # the same on small data, in minutes
    python -m benchmarks.growth --page docs/growth.md   # and a page, with an SVG of each case in docs/growth

What is measured is ``fit`` alone: seconds of the processor (not of the clock, so other work on the machine does not
matter much), and the peak of memory beyond what the rows take. The exponent is that of the last step, from 4 times to
16: 1 is proportional, 0 is flat. Beyond 1 in time, and beyond 0 in memory over rows, something bends.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import tempfile
import unittest.mock
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from PIL import Image

from algorithms import hyperparameters, registry
from algorithms.interface import RECORDIO
from algorithms.linear_learner import path
from algorithms.seq2seq.vocabulary import Vocabulary
from benchmarks.common import Cost, apart, cost, table
from container import resources
from recordio.framing import frames, write_frame
from recordio.images import encode_record
from recordio.sequences import Pairs, Ragged, encode
from tests.algorithms.fakes import FakeJob, MemoryStream
from tests.algorithms.samples import Records

TIMES = (1, 4, 16)
QUICK = 16
"""In quick mode there are so many times fewer rows, images or pairs."""

Sizes = Mapping[str, int]
"""What a job is made of: how many there are of each. The first are its rows, images or pairs."""


class Case(NamedTuple):
    """An algorithm, the sizes that are 1, and the job of given sizes: its hyperparameters, and its rows with their
    labels or, where it has none, its channels, with their files in a folder; and what it happens in."""

    algorithm: str
    base: Sizes
    given: Callable[[Sizes], dict[str, object]]
    rows: Callable[[Sizes], tuple[Any, np.ndarray | None]] | None = None
    channels: Callable[[Sizes, Path], dict[str, Any]] | None = None
    within: Callable[[], AbstractContextManager[object]] = nullcontext

    def few(self) -> Sizes:
        """The base of quick mode."""
        first = next(iter(self.base))
        return {**self.base, first: self.base[first] // QUICK}


class Growth(NamedTuple):
    """The costs at 1, 4 and 16 times."""

    axis: str
    sizes: list[int]
    costs: list[Cost]


def main() -> None:
    """Measure, print a table of exponents for each case, and draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", type=Path, help="a Markdown page; plots go into a folder of its name beside it")
    arguments = parser.parse_args()
    found = {}
    for name in arguments.only:
        found[name] = apart(measure, name, arguments.quick)
        print(_table(name, found[name]), flush=True)
    if arguments.page is not None:
        write_page(arguments.page, found)


PAGE = """# How time and memory grow

Written by `python -m benchmarks.growth --page docs/growth.md`. One thing is 1, 4 and 16 times as large, all else the
same. Measured is `fit` alone, on one thread where an algorithm's own code or BLAS has threads: seconds of the
processor, and the peak of memory beyond rows that are held in memory already. The exponent is that of the last step,
from 4 times to 16: 1 is proportional, 0 is flat. The networks' seconds hold what TensorFlow takes to compile them, the
same whatever the size.

Memory over rows: k-means keeps a sample of 16 MB and works on copies of it; the linear learner and factorization
machines hold all rows as long as these fit, and by steps what they have held out; LDA and NTM keep the documents,
XGBoost its matrix of bins, image classification decoded images up to a bound, sequence to sequence the pairs; PCA keeps
nothing.
"""


def write_page(page: Path, found: Mapping[str, Sequence[Growth]]) -> None:
    """The documentation's page: a table and a plot of each case."""
    plots = page.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    parts = [PAGE]
    for name, grown in found.items():
        file = re.sub(r"\W+", "-", name)
        (plots / f"{file}.svg").write_text(drawn(name, grown))
        parts.append(f"{_table(name, grown)}\n\n![Processor seconds and memory of {name}]({plots.name}/{file}.svg)")
    page.write_text("\n".join(parts) + "\n")


def measure(name: str, quick: bool = False) -> list[Growth]:
    """Each axis of one case, the others at their base."""
    case = CASES[name]
    base = case.few() if quick else case.base
    trained(name, base)  # imports, and what is made once
    grown = []
    for axis in base:
        sizes = [base[axis] * times for times in TIMES]
        grown.append(Growth(axis, sizes, [trained(name, {**base, axis: size}) for size in sizes]))
    return grown


def trained(name: str, sizes: Sizes) -> Cost:
    """What a job of given sizes costs."""
    case = CASES[name]
    algorithm = registry.find(case.algorithm)
    strings = {key: str(value) for key, value in case.given(sizes).items()}
    values = hyperparameters.parse(algorithm.hyperparameters, strings)
    with tempfile.TemporaryDirectory() as folder, case.within():
        channels = case.channels(sizes, Path(folder)) if case.channels else {"train": MemoryStream(*case.rows(sizes))}
        return cost(lambda: algorithm.fit(values, channels, FakeJob(memory=resources.memory())) is None)


# ---- data -----------------------------------------------------------------------------------------------------------


def dense(sizes: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ten groups or more, with noise; groups are of the classes in turn, of two where no number is given."""
    random = np.random.default_rng(0)
    classes = sizes.get("classes", 2)
    groups = max(10, 2 * classes)
    group = random.integers(groups, size=sizes["rows"])
    rows = random.standard_normal((sizes["rows"], sizes["features"]), dtype=np.float32)
    rows += 2 * random.standard_normal((groups, sizes["features"]), dtype=np.float32)[group]
    return rows, (group % classes).astype(np.float32)


def sparse(sizes: Sizes) -> tuple[sp.csr_array, np.ndarray]:
    """Counts of words, half of each row among fifty words of its group of twenty; the label is whether the group is one
    of the first ten."""
    random = np.random.default_rng(0)
    shape = sizes["rows"], sizes["non-zeros"]
    group = random.integers(20, size=(sizes["rows"], 1))
    own = group * 50 + random.integers(50, size=shape)
    anywhere = random.integers(sizes["features"], size=shape)
    columns = np.where(random.random(shape) < 0.5, own % sizes["features"], anywhere)
    starts = np.arange(sizes["rows"] + 1) * sizes["non-zeros"]
    found = sp.csr_array(
        (np.ones(columns.size, np.float32), columns.reshape(-1), starts), shape=(sizes["rows"], sizes["features"])
    )
    found.sum_duplicates()
    return found, (group[:, 0] < 10).astype(np.float32)


def _unlabelled(made: Callable[[Sizes], tuple[Any, np.ndarray]]) -> Callable[[Sizes], tuple[Any, None]]:
    return lambda sizes: (made(sizes)[0], None)


def _components(sizes: Sizes) -> dict[str, object]:
    return {"num_components": sizes["components"], "feature_dim": sizes["features"], "mini_batch_size": 1000}


def _images(sizes: Sizes) -> int:
    return max(sizes["images"], sizes["images a batch"])


def _pictures(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Channels of noisy images, each class brighter than the one before; no fewer than a batch."""
    random = np.random.default_rng(0)
    for name, count in (("train", _images(sizes)), ("validation", 8)):
        (folder / name).mkdir()
        with (folder / name / "data.rec").open("wb") as file:
            for number in range(count):
                label = number % sizes["classes"]
                pixels = random.integers(0, 100, (sizes["side"], sizes["side"], 3)) + 150 * label // sizes["classes"]
                image = io.BytesIO()
                Image.fromarray(pixels.astype(np.uint8)).save(image, "JPEG")
                write_frame(file, encode_record(image.getvalue(), [label], number))
    return {name: Records(folder=folder / name) for name in ("train", "validation")}


def _sentences(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Channels of random words, to be written backwards; all sentences have the same number of words."""
    vocabulary = Vocabulary.of([f"w{number}" for number in range(sizes["words"])])
    for name in ("vocab.src.json", "vocab.trg.json"):
        (folder / name).write_text(vocabulary.to_json())
    random = np.random.default_rng(0)
    channels: dict[str, Any] = {"vocab": folder}
    for name, count in (("train", sizes["pairs"]), ("validation", 8)):
        first = len(vocabulary) - sizes["words"]
        source = list(random.integers(first, len(vocabulary), (count, sizes["length"])))
        pairs = Pairs(Ragged.of(source), Ragged.of([one[::-1] for one in source]))
        channels[name] = Records(list(frames(io.BytesIO(encode(pairs)), name)), RECORDIO)
    return channels


def _linear(sizes: Sizes) -> dict[str, object]:
    return {
        "predictor_type": "multiclass_classifier",
        "num_classes": sizes["classes"],
        "feature_dim": sizes["features"],
    }


def _as_if_too_large() -> AbstractContextManager[object]:
    """The linear learner trains by steps, as where rows do not fit into memory."""
    return unittest.mock.patch.object(path, "PATH_MEMORY", 0)


def _factorization(sizes: Sizes) -> dict[str, object]:
    return {
        "predictor_type": "binary_classifier",
        "num_factors": sizes["factors"],
        "feature_dim": sizes["features"],
    }


CASES = {
    "kmeans": Case(
        "kmeans",
        {"rows": 16_000, "features": 32, "clusters": 10},
        lambda sizes: {"k": sizes["clusters"], "feature_dim": sizes["features"]},
        _unlabelled(dense),
    ),
    "pca": Case(
        "pca",
        {"rows": 16_000, "features": 64, "components": 4},
        _components,
        _unlabelled(dense),
    ),
    "pca, randomized, sparse rows": Case(
        "pca",
        {"rows": 16_000, "features": 4_000, "non-zeros": 20, "components": 4},
        lambda sizes: {**_components(sizes), "algorithm_mode": "randomized"},
        _unlabelled(sparse),
    ),
    "linear-learner": Case("linear-learner", {"rows": 16_000, "features": 32, "classes": 3}, _linear, dense),
    "linear-learner, by steps": Case(
        "linear-learner",
        {"rows": 16_000, "features": 32, "classes": 3, "models": 2, "rows a batch": 100},
        lambda sizes: {
            **_linear(sizes),
            "num_models": sizes["models"],
            "mini_batch_size": sizes["rows a batch"],
            "epochs": 2,
        },
        dense,
        within=_as_if_too_large,
    ),
    "factorization-machines": Case(
        "factorization-machines",
        {"rows": 16_000, "features": 4_000, "non-zeros": 20, "factors": 8},
        _factorization,
        sparse,
    ),
    "factorization-machines, by steps": Case(
        "factorization-machines",
        {"rows": 16_000, "features": 4_000, "non-zeros": 20, "factors": 8, "rows a batch": 100},
        lambda sizes: {**_factorization(sizes), "mini_batch_size": sizes["rows a batch"], "epochs": 1},
        sparse,
    ),
    "lda": Case(
        "lda",
        {"rows": 4_000, "features": 1_000, "non-zeros": 20, "topics": 8},
        lambda sizes: {
            "num_topics": sizes["topics"],
            "feature_dim": sizes["features"],
            "mini_batch_size": sizes["rows"],
        },
        _unlabelled(sparse),
    ),
    "ntm": Case(
        "ntm",
        {"rows": 4_000, "features": 1_000, "non-zeros": 20, "topics": 8, "rows a batch": 64},
        lambda sizes: {
            "num_topics": sizes["topics"],
            "feature_dim": sizes["features"],
            "mini_batch_size": sizes["rows a batch"],
            "epochs": 2,
        },
        _unlabelled(sparse),
    ),
    "xgboost": Case(
        "xgboost",
        {"rows": 16_000, "features": 16, "rounds": 5, "classes": 3},
        lambda sizes: {
            "objective": "multi:softprob",
            "num_class": sizes["classes"],
            "num_round": sizes["rounds"],
            "nthread": 1,
        },
        dense,
    ),
    "image-classification": Case(
        "image-classification",
        {"images": 256, "side": 32, "classes": 4, "images a batch": 8},
        lambda sizes: {
            "num_classes": sizes["classes"],
            "num_training_samples": _images(sizes),
            "num_layers": 20,
            "image_shape": f"3,{sizes['side']},{sizes['side']}",
            "mini_batch_size": sizes["images a batch"],
            "epochs": 2,
        },
        channels=_pictures,
    ),
    "seq2seq": Case(
        "seq2seq",
        {"pairs": 1_024, "words": 500, "length": 5, "hidden units": 32, "pairs a batch": 16},
        lambda sizes: {
            **dict.fromkeys(("rnn_num_hidden", "num_embed_source", "num_embed_target"), sizes["hidden units"]),
            "batch_size": sizes["pairs a batch"],
            "max_num_epochs": 2,
        },
        channels=_sentences,
    ),
}


# ---- what is shown --------------------------------------------------------------------------------------------------


def exponent(before: float, after: float) -> float:
    """By what power of the size a cost grew in one step of four.

    >>> exponent(1, 16), exponent(3, 3)
    (2.0, 0.0)
    """
    return math.log(max(after, 1e-9) / max(before, 1e-9), 4)


def _table(name: str, grown: Sequence[Growth]) -> str:
    rows = []
    for growth in grown:
        seconds = [one.seconds for one in growth.costs]
        megabytes = [one.memory / 1e6 for one in growth.costs]
        rows.append(
            [
                growth.axis,
                " / ".join(f"{size:,}" for size in growth.sizes),
                " / ".join(f"{value:.3g}" for value in seconds),
                round(exponent(*seconds[1:]), 2),
                " / ".join(f"{value:.0f}" for value in megabytes),
                round(exponent(*[max(value, 1) for value in megabytes[1:]]), 2),
            ]
        )
    columns = ("", "sizes", "processor seconds", "exponent", "MB", "exponent")
    return table(f"{name}: " + ", ".join(f"{one.sizes[0]:,} {one.axis}" for one in grown), columns, rows)


COLORS = ("#4a7ab5", "#c4703a", "#4f9a5b", "#8a5fa8", "#7a6a4f")


def drawn(name: str, grown: Sequence[Growth]) -> str:
    """An SVG of both costs over 1, 4 and 16 times, each axis a line; both scales are logarithmic."""
    seconds = [[one.seconds for one in growth.costs] for growth in grown]
    megabytes = [[max(one.memory / 1e6, 1) for one in growth.costs] for growth in grown]
    body = _panel(40, "processor seconds", seconds) + _panel(340, "MB beyond the rows", megabytes)
    for number, (growth, color) in enumerate(zip(grown, COLORS, strict=False)):
        body += f'<text x="{40 + 110 * number}" y="234" style="fill:{color}">{growth.axis}</text>'
    style = "text{font:11px system-ui,sans-serif;fill:#555}path{fill:none;stroke-width:2}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 620 240"><title>Processor seconds and memory '
        f'of {name}</title><style>{style}</style><rect width="620" height="240" fill="#fff"/>'
        f'<text x="10" y="16">{name}</text>{body}</svg>\n'
    )


def _panel(left: int, title: str, lines: Sequence[Sequence[float]]) -> str:
    least, most = min(map(min, lines)), max(max(map(max, lines)), min(map(min, lines)) * 2)
    parts = [f'<text x="{left}" y="34">{title}, {least:.2g} to {most:.2g}</text>']
    parts.append(f'<path stroke="#ccc" d="M{left} 45V200H{left + 240}"/>')
    parts += [f'<text x="{left + 115 * step}" y="215">{times}x</text>' for step, times in enumerate(TIMES)]
    for line, color in zip(lines, COLORS, strict=False):
        heights = [200 - 150 * math.log(value / least) / math.log(most / least) for value in line]
        path = "L".join(f"{left + 115 * step} {height:.0f}" for step, height in enumerate(heights))
        parts.append(f'<path stroke="{color}" d="M{path}"/>')
    return "".join(parts)


if __name__ == "__main__":
    main()
