"""How time and memory grow: one thing 1, 4 and 16 times as large, all else the same, for six algorithms.

    python -m benchmarks.growth                         # minutes; --only kmeans lda for some
    python -m benchmarks.growth --quick                 # the same on small data, in under a minute
    python -m benchmarks.growth --page docs/growth.md   # and a page, with one SVG an algorithm in docs/growth

What is measured is ``fit`` alone, on rows in memory: seconds of the processor (not of the clock, so other work on the
machine does not matter much), and the peak of memory beyond what the rows take. The exponent is that of the last step,
from 4 times to 16: 1 is proportional, 0 is flat. Beyond 1 in time, and beyond 0 in memory over rows, something bends.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from algorithms import hyperparameters, registry
from benchmarks.common import Cost, apart, cost, table
from tests.algorithms.fakes import FakeJob, MemoryStream

TIMES = (1, 4, 16)
QUICK = 16
"""In quick mode there are so many times fewer rows."""


class Shape(NamedTuple):
    """What a job is made of; ``parts`` are its clusters, components, factors, topics or rounds."""

    rows: int
    features: int
    parts: int


class Case(NamedTuple):
    """An algorithm, the shape that is 1, what its parts are called, and the job of a shape."""

    base: Shape
    parts: str
    data: Callable[[Shape], tuple[Any, np.ndarray | None]]
    given: Callable[[Shape], dict[str, object]]


class Growth(NamedTuple):
    """The costs at 1, 4 and 16 times."""

    axis: str
    sizes: list[int]
    costs: list[Cost]


def main() -> None:
    """Measure, print a table of exponents for each algorithm, and draw what is asked for."""
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
same. Measured is `fit` alone, on rows in memory and on one thread: seconds of the processor, and the peak of memory
beyond the rows. The exponent is that of the last step, from 4 times to 16: 1 is proportional, 0 is flat.

Memory over rows: k-means keeps a sample of 16 MB and works on copies of it, the linear learner keeps what it has held
out, LDA the documents and XGBoost its matrix of bins; PCA and factorization machines keep nothing.
"""


def write_page(page: Path, found: Mapping[str, Sequence[Growth]]) -> None:
    """The documentation's page: a table and a plot of each algorithm."""
    plots = page.with_suffix("")
    plots.mkdir(parents=True, exist_ok=True)
    parts = [PAGE]
    for name, grown in found.items():
        (plots / f"{name}.svg").write_text(drawn(name, grown))
        parts.append(f"{_table(name, grown)}\n\n![Processor seconds and memory of {name}]({plots.name}/{name}.svg)")
    page.write_text("\n".join(parts) + "\n")


def measure(name: str, quick: bool = False) -> list[Growth]:
    """Each axis of one algorithm, the others at their base."""
    case = CASES[name]
    base = case.base._replace(rows=case.base.rows // QUICK) if quick else case.base
    _trained(name, base)  # imports, and what is made once
    grown = []
    for axis in Shape._fields:
        shapes = [base._replace(**{axis: getattr(base, axis) * times}) for times in TIMES]
        sizes = [getattr(shape, axis) for shape in shapes]
        grown.append(Growth(case.parts if axis == "parts" else axis, sizes, [_trained(name, one) for one in shapes]))
    return grown


def _trained(name: str, shape: Shape) -> Cost:
    case = CASES[name]
    algorithm = registry.find(name)
    strings = {key: str(value) for key, value in case.given(shape).items()}
    values = hyperparameters.parse(algorithm.hyperparameters, strings)
    stream = MemoryStream(*case.data(shape))
    return cost(lambda: algorithm.fit(values, {"train": stream}, FakeJob()) is None)


# ---- data -----------------------------------------------------------------------------------------------------------


def _dense(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ten groups, with noise; the label is whether the group is one of the first five."""
    random = np.random.default_rng(0)
    group = random.integers(10, size=shape.rows)
    rows = random.standard_normal((shape.rows, shape.features), dtype=np.float32)
    rows += 2 * random.standard_normal((10, shape.features), dtype=np.float32)[group]
    return rows, (group < 5).astype(np.float32)


def sparse(shape: Shape, nonzeros: int = 20) -> tuple[sp.csr_array, np.ndarray]:
    """Counts of words, half of each row among fifty words of its group of twenty."""
    random = np.random.default_rng(0)
    group = random.integers(20, size=(shape.rows, 1))
    own = group * 50 + random.integers(50, size=(shape.rows, nonzeros))
    anywhere = random.integers(shape.features, size=(shape.rows, nonzeros))
    columns = np.where(random.random((shape.rows, nonzeros)) < 0.5, own % shape.features, anywhere)
    starts = np.arange(shape.rows + 1) * nonzeros
    found = sp.csr_array(
        (np.ones(columns.size, np.float32), columns.reshape(-1), starts), shape=(shape.rows, shape.features)
    )
    found.sum_duplicates()
    return found, (group[:, 0] < 10).astype(np.float32)


def _unlabelled(made: Callable[[Shape], tuple[Any, np.ndarray]]) -> Callable[[Shape], tuple[Any, None]]:
    return lambda shape: (made(shape)[0], None)


CASES = {
    "kmeans": Case(
        Shape(16_000, 32, 10),
        "clusters",
        _unlabelled(_dense),
        lambda shape: {"k": shape.parts, "feature_dim": shape.features},
    ),
    "pca": Case(
        Shape(16_000, 64, 4),
        "components",
        _unlabelled(_dense),
        lambda shape: {"num_components": shape.parts, "feature_dim": shape.features, "mini_batch_size": 1000},
    ),
    "linear-learner": Case(
        Shape(16_000, 32, 2),
        "models",
        _dense,
        lambda shape: {
            "predictor_type": "binary_classifier",
            "feature_dim": shape.features,
            "num_models": shape.parts,
            "epochs": 2,
        },
    ),
    "factorization-machines": Case(
        Shape(16_000, 4_000, 8),
        "factors",
        sparse,
        lambda shape: {
            "predictor_type": "binary_classifier",
            "feature_dim": shape.features,
            "num_factors": shape.parts,
            "epochs": 1,
        },
    ),
    "lda": Case(
        Shape(4_000, 1_000, 8),
        "topics",
        _unlabelled(sparse),
        lambda shape: {"num_topics": shape.parts, "feature_dim": shape.features, "mini_batch_size": shape.rows},
    ),
    "xgboost": Case(
        Shape(16_000, 16, 5),
        "rounds",
        _dense,
        lambda shape: {"objective": "binary:logistic", "num_round": shape.parts, "nthread": 1},
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
    base = CASES[name].base
    title = f"{name}: {base.rows:,} rows, {base.features:,} features, {base.parts} {CASES[name].parts}"
    return table(title, columns, rows)


def drawn(name: str, grown: Sequence[Growth]) -> str:
    """An SVG of both costs over 1, 4 and 16 times, each axis a line; both scales are logarithmic."""
    panels = (("processor seconds", [[one.seconds for one in growth.costs] for growth in grown]),)
    panels += (("MB beyond the rows", [[max(one.memory / 1e6, 1) for one in growth.costs] for growth in grown]),)
    body = "".join(_panel(40 + 300 * number, *panel, grown) for number, panel in enumerate(panels))
    style = "text{font:11px system-ui,sans-serif;fill:#555}path{fill:none;stroke-width:2}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 240"><style>{style}</style>'
        f'<rect width="620" height="240" fill="#fff"/><text x="10" y="16">{name}</text>{body}</svg>\n'
    )


def _panel(left: int, title: str, lines: Sequence[Sequence[float]], grown: Sequence[Growth]) -> str:
    least, most = min(map(min, lines)), max(max(map(max, lines)), min(map(min, lines)) * 2)
    parts = [f'<text x="{left}" y="34">{title}, {least:.2g} to {most:.2g}</text>']
    parts.append(f'<path stroke="#ccc" d="M{left} 45V200H{left + 240}"/>')
    parts += [f'<text x="{left + 115 * step}" y="215">{times}x</text>' for step, times in enumerate(TIMES)]
    for number, (line, growth) in enumerate(zip(lines, grown, strict=True)):
        color = ("#4a7ab5", "#c4703a", "#4f9a5b")[number % 3]
        heights = [200 - 150 * math.log(value / least) / math.log(most / least) for value in line]
        path = "L".join(f"{left + 115 * step} {height:.0f}" for step, height in enumerate(heights))
        parts.append(f'<path stroke="{color}" d="M{path}"/>')
        parts.append(f'<text x="{left + 80 * number}" y="232" style="fill:{color}">{growth.axis}</text>')
    return "".join(parts)


if __name__ == "__main__":
    main()
