"""What tests of the record reader share."""

import io
import struct

import numpy as np
import pytest
import scipy.sparse as sp

from recordio import record_reader
from recordio.batches import concatenate
from recordio.framing import write_frame
from recordio.record_reader import read_records
from recordio.rows import RowFormat

COMPILED = pytest.param(
    "compiled", marks=pytest.mark.skipif(record_reader.kernel is None, reason="the kernel is not built")
)


MODES = [COMPILED, "messages"]


def use(mode, monkeypatch):
    """Read with the kernel, or message by message."""
    if mode != "compiled":
        monkeypatch.setattr(record_reader, "kernel", None)


def read(data, **rows):
    """All rows of ``data``, as one batch."""
    return concatenate(list(read_records(io.BytesIO(data), "x.pbr", RowFormat(**rows))))


def framed(*bodies):
    out = io.BytesIO()
    for body in bodies:
        write_frame(out, body if isinstance(body, bytes) else body.SerializeToString())
    return out.getvalue()


RANDOM = np.random.default_rng(0)


WIDE = RANDOM.normal(size=(3000, 784)).astype(np.float32)


NARROW = RANDOM.normal(size=(40_000, 8)).astype(np.float32)


SPARSE = sp.random_array((6_000, 4000), density=0.01, format="csr", dtype=np.float32, rng=RANDOM)


def field(number, payload):
    """A protobuf field that holds bytes, by hand."""
    size = len(payload)
    assert size < 1 << 14
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + payload


def entry(value, key=b"values"):
    return field(1, key) + field(2, value)


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


UNPACKED = b"".join(b"\x0d" + floats(value) for value in (1, 2, 3))


PLAIN = field(1, floats(1, 2, 3))


LABEL = field(2, entry(field(2, field(1, floats(9)))))


UNUSUAL = {
    "unpacked": field(1, entry(field(2, UNPACKED))) + LABEL,
    "packed in two pieces": field(1, entry(field(2, field(1, floats(1)) + field(1, floats(2, 3))))) + LABEL,
    "label before features": LABEL + field(1, entry(field(2, PLAIN))),
    "value before key": field(1, field(2, field(2, PLAIN)) + field(1, b"values")) + LABEL,
    "another entry before": field(1, entry(field(2, PLAIN), b"other")) + field(1, entry(field(2, PLAIN))) + LABEL,
    "another entry after": field(1, entry(field(2, PLAIN))) + field(1, entry(field(2, b""), b"other")) + LABEL,
    "the last entry of a name wins": field(1, entry(field(2, field(1, floats(7)))))
    + field(1, entry(field(2, PLAIN)))
    + LABEL,
    "the last kind of tensor wins": field(1, entry(field(3, field(1, bytes(8))) + field(2, PLAIN))) + LABEL,
    "uid": field(1, entry(field(2, PLAIN))) + LABEL + field(3, b"row-1"),
    "texts": field(1, entry(field(2, PLAIN))) + LABEL + field(3, b"1") + field(4, b"{}") + field(5, b"x"),
    "texts first": field(4, b"{}") + field(3, b"1") + field(1, entry(field(2, PLAIN))) + LABEL,
    "text beyond ASCII": field(1, entry(field(2, PLAIN))) + LABEL + field(3, "ü".encode()),
    "unknown fields": b"\x30\x05" + field(1, entry(field(2, PLAIN) + field(15, b"?"))) + LABEL,
    "shape of a dense tensor": field(1, entry(field(2, PLAIN + field(3, b"\x03")))) + LABEL,
    "shape of two dimensions": field(1, entry(field(2, PLAIN + field(3, b"\x03\x01")))) + LABEL,
    "float64": field(1, entry(field(3, field(1, struct.pack("<3d", 1, 2, 3))))) + LABEL,
    "int32": field(1, entry(field(7, field(1, b"\x01\x02\x03")))) + LABEL,
    "long varints": field(1, entry(field(7, field(1, b"\x81\x00\x82\x80\x00\x83\x80\x80\x00")))) + LABEL,
    "long lengths": b"\x0a\x9e\x00\x0a\x86\x00values\x12\x91\x80\x00\x12\x8e\x00" + PLAIN + LABEL,
    "int64 label": field(1, entry(field(2, PLAIN))) + field(2, entry(field(7, field(1, b"\x09")))),
    "float64 label": field(1, entry(field(2, PLAIN))) + field(2, entry(field(3, field(1, struct.pack("<d", 9))))),
    "sparse": field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x02") + field(3, b"\x03")))) + LABEL,
    "sparse, unsorted": field(
        1, entry(field(2, field(1, floats(3, 1, 2)) + field(2, b"\x02\x00\x01") + b"\x1a\x01\x03"))
    )
    + LABEL,
    "sparse, keys before values": field(1, entry(field(2, field(2, b"\x00\x01\x02") + PLAIN + field(3, b"\x03"))))
    + LABEL,
    "sparse, keys unpacked": field(1, entry(field(2, PLAIN + b"\x10\x00\x10\x01\x10\x02" + field(3, b"\x03")))) + LABEL,
    "sparse, long keys": field(
        1, entry(field(2, PLAIN + field(2, b"\x80\x00\x81\x80\x00\x02") + field(3, b"\x83\x00")))
    )
    + LABEL,
    "sparse, a key twice": field(
        1, entry(field(2, field(1, floats(1, 2, 1, 2)) + field(2, b"\x00\x01\x02\x02") + field(3, b"\x03")))
    )
    + LABEL,
    "sparse, no shape": field(1, entry(field(2, PLAIN + field(2, b"\x00\x01\x02")))) + LABEL,
}
"""Ways to write the features 1, 2, 3 and the label 9."""


USUAL = field(1, entry(field(2, PLAIN))) + LABEL
