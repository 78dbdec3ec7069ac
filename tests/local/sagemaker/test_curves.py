"""The drawings of the page."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("boto3")

from local.sagemaker import curves


def points(svg: str) -> np.ndarray:
    """The points of the one curve, (n, 2)."""
    line = ElementTree.fromstring(re.search(r"<svg.*</svg>", svg)[0]).find("polyline")
    return np.array([pair.split(",") for pair in line.get("points").split()], float)


def test_a_curve_goes_evenly_from_left_to_right_and_is_the_values_up_to_scale():
    values = np.random.default_rng(0).normal(size=40)
    x, y = points(curves.curve("a<b", values.tolist())).T
    assert np.ptp(np.diff(x)) < 0.2
    np.testing.assert_allclose(-y, np.polyval(np.polyfit(values, -y, 1), values), atol=0.1)
    assert np.corrcoef(values, -y)[0, 1] > 0.999
    assert x.min() >= 0 and x.max() <= 160 and y.min() >= 0 and y.max() <= 36


@pytest.mark.parametrize("values", [[1.0, 1.0], [1e308, -1e308], [0.0, 5e-324]])
def test_values_that_are_equal_or_extreme_are_drawn_inside(values):
    found = points(curves.curve("loss", values))
    assert len(found) == 2 and np.isfinite(found).all() and (found >= 0).all() and (found[:, 1] <= 36).all()


def test_long_curves_are_thinned_and_short_lines_and_other_metrics_left_out(tmp_path):
    file = tmp_path / "algo-1.events"
    entries = [{"group": "g"}, [1, "a line"], *([2, "train:loss", float(number)] for number in range(5000))]
    entries += [[3, "train:throughput", 7.0], [4, "<b>", 1.5]]
    file.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries) + '[5, "train:loss", 9')
    drawn = curves.drawn(file)
    found = points(drawn)
    assert len(found) == 160 and (np.diff(found[:, 1]) <= 0).all()
    assert "throughput" not in drawn and "<b>" not in drawn and "&lt;b&gt; 1.5" in drawn and "4999" in drawn
    assert curves.drawn(tmp_path / "none") == ""
