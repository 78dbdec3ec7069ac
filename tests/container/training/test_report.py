"""The page about a job: what is on it, and that it never ends a job."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import numpy as np
import pytest
import scipy.sparse as sp
from lxml import html as parser
from PIL import Image

from algorithms.events import Chosen, FinalScore, Measured, Score
from algorithms.figures import Bars, Card, Cards, Heatmap, Lines, Pictures, Sample, Table
from container.training import charts, report
from container.training.report import About, History
from recordio.batches import Batch

ABOUT = About(
    algorithm="toy",
    summary="Plays.",
    hyperparameters=[("k", "<script>alert(1)</script>"), ("unset", "")],
    channels=[("train", "text/csv, File")],
    seconds=1.5,
)
FIGURES = [
    Lines(title="a & b", x="<x>", y="y", series={"one": [(0, 1), (1, 2)], "none": [], "broken": [(0, np.nan), (2, 3)]}),
    Lines(title="flat", x="x", y="y", series={"one": [(1, 5)]}),
    Lines(title="long", x="x", y="y", series={"one": [(i, i * i) for i in range(10_001)]}),
    Lines(title="empty", x="x", y="y", series={}),
    Bars(title="bars", labels=["<b>", "c"], values=[-1, float("inf")]),
    Heatmap(title="counts", values=np.eye(2), x="x", y="y", rows="ab", columns="ab", written=True),
    Heatmap(title="shades", values=np.arange(600_000.0).reshape(600, 1000), x="x", y="y"),
    Heatmap(title="nothing", values=np.zeros((0, 3)), x="x", y="y"),
    Pictures(title="pictures", images=np.arange(8.0).reshape(2, 2, 2), captions=["<a>", "b"]),
    Pictures(title="colours", images=np.zeros((1, 2, 2, 3), np.uint8), captions=["c"]),
    Table(title="table", columns=["c"], rows=[["<i>"]]),
    Cards(title="cards", cards=[Card(title="<t>", share=0.5, words=[("<w>", 0.1)], facts="f", examples=["<e>"])]),
]


class Model:
    def __init__(self, figures):
        self._figures = figures
        self.sample = None

    def figures(self, sample):
        self.sample = sample
        if isinstance(self._figures, Exception):
            raise self._figures
        return self._figures


def written(tmp_path, figures=FIGURES, history=None):
    report.write(tmp_path, ABOUT, history or History(), Model(figures))
    return (tmp_path / report.FILE).read_text()


def test_the_page_has_every_figure_and_nothing_from_elsewhere(tmp_path):
    (tmp_path / "topics.json").write_text("{}")
    text = written(tmp_path)
    tree = parser.fromstring(text)
    assert [title.text for title in tree.iter("h2")] == ["Channels", *(one.title for one in FIGURES)]
    assert not list(tree.iter("script", "link", "iframe"))
    sources = [element.get("src") for element in tree.iter("img")] + [element.get("href") for element in tree.iter("a")]
    assert [source for source in sources if not source.startswith("data:")] == ["report.json", "topics.json"]
    for drawing in tree.iter("svg"):
        assert (drawing.get("role"), drawing[0].tag) == ("img", "title")
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert ">unset<" not in text


def test_names_of_any_kind_are_text(tmp_path):
    """Lone surrogates, which JSON can hold and UTF-8 cannot; markup, directions of text, addresses of scripts."""
    names = [
        "\ud800",
        "\u202e",
        "\0",
        "</style><script>alert(1)</script>",
        '"onload="alert(1)',
        "javascript:alert(1)",
        "a#b?c%",
    ]
    for name in names[2:]:
        if "\0" not in name and "/" not in name:
            (tmp_path / name).write_text("")
    figures = [
        Lines(title=name, x=name, y=name, series={name: [(0, 1)], "other": [(1, 2)]}, marks={name: (0, 1)}, note=name)
        for name in names
    ]
    figures += [Table(title=name, columns=[name], rows=[[name]], note=name) for name in names]
    figures += [
        Heatmap(title=name, values=np.eye(2), x=name, y=name, rows=[name] * 2, columns=[name] * 2, written=written_)
        for name in names
        for written_ in (False, True)
    ]
    tree = parser.fromstring(written(tmp_path, figures).encode())
    assert not list(tree.iter("script"))
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    links = [element.get("href") for element in tree.iter("a")]
    assert sorted(map(unquote, links)) == sorted([*names[4:], "report.json"])
    assert all(urlsplit(link).scheme == urlsplit(link).fragment == "" for link in links)


def test_a_file_whose_name_is_no_utf_8_is_linked_by_its_bytes(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).write_text("")
    links = [element.get("href") for element in parser.fromstring(written(tmp_path).encode()).iter("a")]
    assert sorted(map(unquote_to_bytes, links)) == [b"caf\xe9.csv", b"report.json"]


def test_pictures_are_the_numbers():
    drawn = charts.figure(Heatmap(title="shades", values=np.array([[0.0, 1.0], [0.5, 0.0]]), x="x", y="y"))
    data = base64.b64decode(re.search(r"base64,([^\"]+)", drawn)[1])
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    assert pixels[0, 0].tolist() == pixels[1, 1].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == [47, 109, 179]


def test_curves_lie_where_their_points_are():
    drawn = charts.figure(Lines(title="t", x="x", y="y", series={"one": [(0, 10), (5, 20), (10, 15)]}))
    points = [tuple(map(float, point.split(","))) for point in re.search(r'points="([^"]+)"', drawn)[1].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)  # halfway across
    assert y2 - y1 == pytest.approx(y0 - y2, abs=0.2)  # halfway down
    assert y1 < y0  # upwards


def test_a_page_that_cannot_be_made_ends_nothing(tmp_path, caplog):
    report.write(tmp_path, ABOUT, History(), Model(ValueError("no")))
    assert "Traceback" in caplog.text
    caplog.clear()
    report.write(tmp_path / "missing", ABOUT, History(), Model([]))  # a folder is no fault of ours
    assert "The report could not be written" in caplog.text
    assert "Traceback" not in caplog.text
    assert not (tmp_path / report.FILE).exists()


def test_curves_are_of_what_was_measured_more_than_once(tmp_path):
    history = History()
    for epoch in (0, 1):
        history.add(Measured.of("train", "loss", 1.0 - epoch, step=epoch))
        history.add(Measured.of("validation", "loss", 2.0 - epoch, step=epoch))
    history.add(FinalScore("test", "loss", 0.25))
    history.add(Measured.of("train", "loss", 9.0, step=0, batch=3))  # for the log alone
    tree = parser.fromstring(written(tmp_path, [], history))
    assert [title.text for title in tree.iter("h2")] == ["Scores", "Channels", "Learning curve: loss"]
    assert len(list(tree.iter("polyline"))) == 2
    cells = [cell.text for cell in next(tree.iter("table")).iter("th", "td")]
    assert cells == ["metric", "train", "validation", "test", "loss", "0", "1", "0.25"]


def test_scores_are_those_of_the_step_whose_model_is_left():
    history = History()
    for epoch, loss in enumerate([3.0, 1.0, 2.0]):
        history.add(Measured.of("train", "loss", loss / 2, step=epoch))
        history.add(Measured.of("validation", "loss", loss, step=epoch))
    history.add(FinalScore("test", "loss", 0.25))
    history.add(Measured.of("validation", "loss", 1.0, step=2))  # once more, of the best epoch
    history.add(Chosen(1))
    assert history.finals == {("train", "loss"): 0.5, ("validation", "loss"): 1.0, ("test", "loss"): 0.25}
    assert history.curves["loss"]["validation"] == [(0, 3.0), (1, 1.0), (2, 2.0)]
    history.add(Chosen(7, (Score("validation", "loss", 0.75),)))  # of an earlier run
    assert history.finals == {("validation", "loss"): 0.75, ("test", "loss"): 0.25}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sizes", [[10], [1] * 300, [100_000], [5000, 1, 70_000]])
def test_a_sample_is_small_and_from_all_of_the_channel(sizes, sparse):
    history, start = History(), 0
    for size in sizes:
        numbers = np.arange(start + 1, start + size + 1, dtype=np.float32)
        rows = numbers[:, None]
        history.sample_of("train").add(Batch(sp.csr_array(rows) if sparse else rows, numbers))
        start += size
    sample = history.sample().rows
    values = sample.features.toarray()[:, 0] if sparse else sample.features[:, 0]
    np.testing.assert_array_equal(values, sample.labels)
    assert min(start, report.SAMPLE_ROWS // 4) <= len(sample) <= report.SAMPLE_ROWS or max(sizes) == 1
    assert len(np.unique(values)) == len(sample)
    assert abs(np.median(values) - start / 2) <= 0.2 * start


def test_wide_rows_are_sampled_within_bounds():
    history = History()
    for _ in range(20):
        history.sample_of("train").add(Batch(np.ones((200, 50_000), np.float32)))
    assert sum(array.nbytes for array in history.sample().rows.arrays()) <= 16 << 20


def test_the_least_known_rows_are_shown():
    history = History()
    for name, rows in (("train", 3), ("validation", 2), ("test", 0)):
        history.sample_of(name).add(Batch(np.zeros((rows, 1), np.float32)))
    assert isinstance(sample := history.sample(), Sample)
    assert (sample.dataset, len(sample.rows)) == ("validation", 2)
    assert History().sample() is None


def test_values_are_shown_as_they_are_written_on_the_wire():
    shown = [report.shown(value) for value in (True, 1, 0.5, None, ("a", "b"), "x")]
    assert shown == ["true", "1", "0.5", "", "a, b", "x"]


def test_what_the_page_shows_is_data_beside_it(tmp_path):
    history = History()
    history.add(FinalScore("test", "loss", float("nan")))
    history.add(FinalScore("test", "rmse", 0.25))
    written(tmp_path, history=history)
    told = json.loads((tmp_path / report.DATA).read_text(), parse_constant=pytest.fail)  # no NaN, which JSON lacks
    assert told["scores"] == {"test:loss": None, "test:rmse": 0.25}
    assert [one["title"] for one in told["figures"]] == [one.title for one in FIGURES]
    by_title = {one["title"]: one for one in told["figures"]}
    assert by_title["a & b"]["series"]["broken"] == [[0, None], [2, 3]]
    assert by_title["counts"]["values"] == [[1, 0], [0, 1]]
    assert np.shape(by_title["shades"]["values"]) == (250, 250)
    assert by_title["cards"]["cards"][0]["words"] == [["<w>", 0.1]]


def test_many_numbers_are_rounded_as_each_alone():
    random = np.random.default_rng(0)
    numbers = [
        *(random.normal(size=2000) * 10.0 ** random.integers(-14, 15, 2000)).tolist(),
        0.0,
        999_999.96,
        1e-3,
        123.0,
    ]
    alone = [float(f"{number:.7g}") for number in numbers]
    assert charts.plain(numbers) == charts.plain(np.array(numbers)) == alone
    pairs = list(zip(numbers, numbers[::-1], strict=True))
    assert charts.plain(pairs) == [list(pair) for pair in zip(alone, alone[::-1], strict=True)]
    odd = [*numbers, float("nan"), 1e300, 5e-324, 3]
    assert charts.plain(odd) == charts.plain(tuple(odd)) == [*alone, None, 1e300, 5e-324, 3]
    assert json.dumps(charts.plain([(at, 0.5) for at in range(100)])).startswith("[[0, 0.5], [1, 0.5]")


def test_numbers_are_told_from_words():
    drawn = parser.fromstring(charts.table(["a"], [["1,234.5"], ["-2e-05"], ["12.5 %"], ["a1"], ["text/csv"], ["1 a"]]))
    assert [cell.text for cell in drawn.iter("td") if cell.get("class") == "number"] == ["1,234.5", "-2e-05", "12.5 %"]


def test_json_beside_the_page_is_left_alone(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps([1]))
    written(tmp_path)
    assert json.loads((tmp_path / "own.json").read_text()) == [1]


def pixels_of(page: str) -> np.ndarray:
    """The first heat map of a page, decoded by Pillow: (height, width, 3)."""
    encoded = page.split('<image href="data:image/png;base64,')[1].split('"')[0]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"), int)


def test_numbers_of_both_signs_have_colours_of_both_sides_of_white() -> None:
    page = charts.figure(Heatmap(title="h", values=np.array([[-2.0, 0.0, 1.0, 4.0]]), x="x", y="y"))
    below, zero, above, most = pixels_of(page)[0]
    assert zero.tolist() == [255, 255, 255]
    assert below[0] > below[2]  # red
    assert most[2] > most[0]  # blue
    assert (255 - above).sum() == pytest.approx((255 - most).sum() / 4, abs=3)
    assert "<span>-4</span>" in page and "<span>4</span>" in page and "both" in page


def test_numbers_of_one_sign_go_from_white_to_blue() -> None:
    page = charts.figure(Heatmap(title="h", values=np.array([[1.0, 2.0, 3.0]]), x="x", y="y"))
    least, _, most = pixels_of(page)[0]
    assert least.tolist() == [255, 255, 255]
    assert most[2] > most[0]
    assert "<span>1</span>" in page and "<span>3</span>" in page and "one" in page
