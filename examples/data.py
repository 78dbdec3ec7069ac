"""Write the data of the README's examples: ``python examples/data.py FOLDER``. It comes with scikit-learn.

digits.csv                           1,797 images of handwritten digits, 64 pixels each; no labels
digits-request.csv                   three of them
cancer-train.csv, -validation.csv    569 tumours, 30 measures each; first column: is it benign?
cancer.csv                           all of them as pandas writes a frame: a header, and the label last, called benign
cancer-request.csv                   three of the latter without the label, so that a model can be asked
cancer-train.pbr, -validation.pbr, -request.pbr
                                     the same as RecordIO-protobuf, each measure scaled to standard deviation 1
digits-train.rec, -validation.rec    1,500 and 297 of the digits as PNG files of 32 x 32 pixels, in MXNet's records
digits-request.png                   the first of the latter, a 1
numbers.txt, backwards.txt           3,000 numbers, a line each with blanks between the digits, and the same from behind
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

from recordio.framing import write_frame
from recordio.images import encode_record
from recordio.record_writer import encode_records

VALIDATION_ROWS = 114
VALIDATION_IMAGES = 297


def main(folder: Path) -> None:
    """Write all files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    digits, names = load_digits(return_X_y=True)
    write(folder / "digits.csv", digits)
    write(folder / "digits-request.csv", digits[:3])
    measures, benign = load_breast_cancer(return_X_y=True)
    load_breast_cancer(as_frame=True).frame.rename(columns={"target": "benign"}).to_csv(
        folder / "cancer.csv", index=False
    )
    rows = np.column_stack([benign, measures])[np.random.default_rng(0).permutation(len(benign))]
    write(folder / "cancer-train.csv", rows[VALIDATION_ROWS:])
    write(folder / "cancer-validation.csv", rows[:VALIDATION_ROWS])
    write(folder / "cancer-request.csv", rows[:3, 1:])
    labels, scaled = rows[:, 0], (rows[:, 1:] - rows[:, 1:].mean(axis=0)) / rows[:, 1:].std(axis=0)
    (folder / "cancer-train.pbr").write_bytes(encode_records(scaled[VALIDATION_ROWS:], labels[VALIDATION_ROWS:]))
    (folder / "cancer-validation.pbr").write_bytes(encode_records(scaled[:VALIDATION_ROWS], labels[:VALIDATION_ROWS]))
    (folder / "cancer-request.pbr").write_bytes(encode_records(scaled[:3]))
    files = [png(digit.reshape(8, 8)) for digit in digits]
    write_images(folder / "digits-train.rec", files[:-VALIDATION_IMAGES], names[:-VALIDATION_IMAGES])
    write_images(folder / "digits-validation.rec", files[-VALIDATION_IMAGES:], names[-VALIDATION_IMAGES:])
    (folder / "digits-request.png").write_bytes(files[-VALIDATION_IMAGES])
    numbers = [str(number) for number in np.random.default_rng(0).integers(1, 10**4, 3000)]
    (folder / "numbers.txt").write_text("".join(" ".join(number) + "\n" for number in numbers))
    (folder / "backwards.txt").write_text("".join(" ".join(reversed(number)) + "\n" for number in numbers))


def write(file: Path, rows: np.ndarray) -> None:
    """Comma-separated values without a header, as SageMaker's algorithms take them."""
    np.savetxt(file, rows, fmt="%.9g", delimiter=",")


def png(pixels: np.ndarray) -> bytes:
    """A digit of 8 x 8 pixels in 16 levels of grey as a PNG file of 32 x 32."""
    file = io.BytesIO()
    Image.fromarray((pixels * 15).astype(np.uint8)).resize((32, 32)).save(file, "PNG")
    return file.getvalue()


def write_images(file: Path, images: Sequence[bytes], labels: np.ndarray) -> None:
    """MXNet's image records, as ``im2rec`` writes them."""
    with file.open("wb") as stream:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            write_frame(stream, encode_record(image, [label], number))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
