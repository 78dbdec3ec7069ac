"""What an image leaves out depends on whose models it serves."""

import re
import subprocess
import sys
from pathlib import Path

from images.leave_out import IMPORT_ALL, others

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"linalg", "sparse", "special"}
"""Of scipy, with what these import themselves. ``scipy.optimize`` alone would be 20 MB more."""


def test_images_keep_three_parts_of_scipy():
    code = "\n".join(
        file.read_text() for layer in ("recordio", "algorithms", "container") for file in (ROOT / layer).rglob("*.py")
    )
    named = set(re.findall(r"^ *(?:from|import) scipy\.(\w+)", code, re.M))
    for names in re.findall(r"^ *from scipy import (.+)", code, re.M):
        named.update(names.split(", "))
    assert named == PARTS


def test_an_image_that_serves_one_algorithm_needs_nothing_of_the_others():
    left = others("image-classification", "serve")
    assert "algorithms.image_classification" not in left and {"algorithms.pca", "algorithms.xgb"} <= set(left)
    assert others("all", "serve") == others("pca", "all") == []


def test_serving_images_takes_no_part_of_scipy_that_brings_a_blas():
    absent = ("keras", "pyarrow", "sklearn", "tensorflow", "xgboost")  # from the image, and here as if they were
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})){IMPORT_ALL}"
    python = [sys.executable, "-c", code, *others("image-classification", "serve")]
    told = subprocess.run(python, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    parts, libraries = (set(line.split()) for line in told.splitlines())
    assert "sparse" in parts and "special" not in parts
    assert not libraries
