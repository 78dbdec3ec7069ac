"""NDArray and symbol files against bytes put together by hand from MXNet's description of the format."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from algorithms.common import mxnet_files, mxnet_symbols
from algorithms.errors import ModelError

V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
CPU = struct.pack("<ii", 1, 0)
FLOAT32, FLOAT64, INT64 = 0, 1, 6
TWO_BY_THREE = np.arange(6, dtype="<f4").reshape(2, 3)


def shape(*dimensions: int, ndim: int | None = None) -> bytes:
    return struct.pack(f"<i{len(dimensions)}q", len(dimensions) if ndim is None else ndim, *dimensions)


def dense(array: np.ndarray = TWO_BY_THREE, magic: int = V2, dtype: int = FLOAT32) -> bytes:
    return struct.pack("<Ii", magic, 0) + shape(*array.shape) + CPU + struct.pack("<i", dtype) + array.tobytes()


def row_sparse(rows: list[int], values: np.ndarray, whole: tuple[int, ...], stored: tuple[int, ...] = (0,)) -> bytes:
    head = struct.pack("<Ii", V2, 1) + shape(*stored) + shape(*whole) + CPU + struct.pack("<i", FLOAT32)
    index = struct.pack("<i", INT64) + shape(len(rows))
    return head + index + values.astype("<f4").tobytes() + np.array(rows, "<i8").tobytes()


def csr(bounds: list[int], columns: list[int], values: list[float], whole: tuple[int, ...]) -> bytes:
    head = struct.pack("<Ii", V2, 2) + shape(len(values)) + shape(*whole) + CPU + struct.pack("<i", FLOAT32)
    indices = struct.pack("<i", INT64) + shape(len(bounds)) + struct.pack("<i", INT64) + shape(len(columns))
    return head + indices + np.array(values, "<f4").tobytes() + np.array(bounds + columns, "<i8").tobytes()


def file(*arrays: bytes, names: tuple[bytes, ...] = (), count: int | None = None, magic: int = 0x112) -> bytes:
    head = struct.pack("<QQQ", magic, 0, len(arrays) if count is None else count)
    tail = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    return head + b"".join(arrays) + struct.pack("<Q", len(names)) + tail


def saved(arrays: Any) -> bytes:
    target = io.BytesIO()
    mxnet_files.save(target, arrays)
    return target.getvalue()


# ---- writing ------------------------------------------------------------------------------------------------------


def test_a_list_is_written_as_documented() -> None:
    assert saved([TWO_BY_THREE]) == file(dense())
    assert len(saved([TWO_BY_THREE])) == 72 + 4 * 6


def test_a_mapping_is_written_with_its_names_in_order() -> None:
    assert saved({"b": TWO_BY_THREE, "a": TWO_BY_THREE[0]}) == file(dense(), dense(TWO_BY_THREE[0]), names=(b"b", b"a"))


def test_any_memory_order_is_written_in_c_order() -> None:
    wanted = saved([TWO_BY_THREE])
    assert saved([np.asfortranarray(TWO_BY_THREE)]) == saved([TWO_BY_THREE.astype(">f4")]) == wanted
    assert saved([np.repeat(TWO_BY_THREE, 2, axis=0)[::2]]) == wanted


@pytest.mark.parametrize("array", [np.float32(1), np.zeros(2, complex), np.array(["a"])])
def test_what_the_format_lacks_is_refused(array: Any) -> None:
    with pytest.raises(ValueError, match="cannot hold an array"):
        saved([np.asarray(array)])


# ---- reading ------------------------------------------------------------------------------------------------------

any_array = st.sampled_from(["f4", "f8", "f2", "u1", "i4", "i1", "i8"]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_side=0))
)


@given(st.lists(any_array) | st.dictionaries(st.text(), any_array, min_size=1))
def test_what_is_saved_is_loaded(arrays: Any) -> None:
    loaded = mxnet_files.load(saved(arrays))
    assert type(loaded) is type(arrays)
    if isinstance(arrays, dict):
        assert list(loaded) == list(arrays)
        loaded, arrays = list(loaded.values()), list(arrays.values())
    for found, expected in zip(loaded, arrays, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_files_and_bytes_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "model_algo-1"
    mxnet_files.save(path, {"s": TWO_BY_THREE})
    for source in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(mxnet_files.load(source)["s"], TWO_BY_THREE)  # type: ignore[call-overload]
        assert mxnet_files.shapes(source) == {"s": (2, 3)}


def test_loaded_arrays_are_writable_and_aligned(tmp_path: Path) -> None:
    for array in mxnet_files.load(saved([np.int8([1]), TWO_BY_THREE])):
        assert array.flags.writeable and array.flags.aligned and array.flags.c_contiguous  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "array",
    [
        struct.pack("<I", V1) + shape(2, 3) + CPU + struct.pack("<i", FLOAT32) + TWO_BY_THREE.tobytes(),
        struct.pack("<III", 2, 2, 3) + CPU + struct.pack("<i", FLOAT32) + TWO_BY_THREE.tobytes(),
        dense(magic=V3),
        dense().replace(CPU, struct.pack("<ii", 2, 1)),  # was on a GPU
        dense(TWO_BY_THREE.astype("<f8"), dtype=FLOAT64),
        csr([0, 2, 5], [1, 2, 0, 1, 2], [1, 2, 3, 4, 5], (2, 3)),
        row_sparse([1, 0], TWO_BY_THREE[::-1], (2, 3)),
        row_sparse([1, 0], TWO_BY_THREE[::-1], (2, 3), stored=(2, 3)),
    ],
    ids=["V1", "V0", "V3", "gpu", "float64", "csr", "row sparse, not yet computed", "row sparse"],
)
def test_every_form_of_an_array_is_read(array: bytes) -> None:
    (found,) = mxnet_files.load(file(array))
    np.testing.assert_array_equal(found, TWO_BY_THREE)


def test_rows_that_are_not_stored_are_zero() -> None:
    (found,) = mxnet_files.load(file(row_sparse([3], np.ones((1, 2)), (5, 2))))
    np.testing.assert_array_equal(found, [[0, 0], [0, 0], [0, 0], [1, 1], [0, 0]])


def test_a_scalar_of_numpy_semantics_is_read() -> None:
    scalar = struct.pack("<Iii", V3, 0, 0) + CPU + struct.pack("<if", FLOAT32, 2.5)
    (found,) = mxnet_files.load(file(scalar))
    assert (found.shape, float(found)) == ((), 2.5)  # type: ignore[union-attr, arg-type]


# ---- malformed files ----------------------------------------------------------------------------------------------

HUGE = 1 << 40
MALFORMED = {
    "not an NDArray file": b"PK\x03\x04" + bytes(60),
    "empty": b"",
    "other magic": file(dense(), magic=0x113),
    "more arrays than bytes": file(dense(), count=1 << 62),
    "one array too many": file(dense(), count=2),
    "names for some": file(dense(), dense(), names=(b"a",)),
    "a name twice": file(dense(), dense(), names=(b"a", b"a")),
    "a name not UTF-8": file(dense(), names=(b"\xff",)),
    "a name beyond the end": file(dense())[:-8] + struct.pack("<QQ", 1, HUGE),
    "bytes after the end": file(dense()) + b"\0",
    "no dimension": file(struct.pack("<Iii", V2, 0, 0)),
    "minus one dimensions": file(struct.pack("<Iii", V3, 0, -1)),
    "many dimensions": file(struct.pack("<Ii", V2, 0) + shape(*[1] * 40)),
    "huge number of dimensions": file(struct.pack("<Ii", V2, 0) + shape(ndim=1 << 30)),
    "huge number of dimensions, V0": file(struct.pack("<I", 1 << 31)),
    "a negative dimension": file(struct.pack("<Ii", V2, 0) + shape(-2, -3) + CPU + bytes(28)),
    "a huge dimension": file(struct.pack("<Ii", V2, 0) + shape(HUGE) + CPU + bytes(28)),
    "a product beyond 64 bits": file(struct.pack("<Ii", V2, 0) + shape(HUGE, HUGE) + CPU + bytes(28)),
    "no element of a huge array": file(struct.pack("<Ii", V2, 0) + shape(0, 1 << 62, 1 << 62) + CPU + bytes(4)),
    "an unknown data type": file(dense(dtype=99)),
    "a negative data type": file(dense(dtype=-1)),
    "an unknown storage": file(struct.pack("<Ii", V2, 3) + shape(2) + bytes(40)),
    "csr bounds fall": file(csr([0, 2, 1], [0, 1], [1, 2], (2, 3))),
    "csr bounds beyond": file(csr([0, 1, 9], [0, 1], [1, 2], (2, 3))),
    "csr too few bounds": file(csr([0, 2], [0, 1], [1, 2], (2, 3))),
    "csr column beyond": file(csr([0, 1, 2], [0, 3], [1, 2], (2, 3))),
    "csr column negative": file(csr([0, 1, 2], [0, -1], [1, 2], (2, 3))),
    "csr of three dimensions": file(csr([0, 1, 2], [0, 1], [1, 2], (2, 3, 4))),
    "csr that is huge when dense": file(csr([0, 1], [0], [1], (1, HUGE))),
    "row beyond": file(row_sparse([5], np.ones((1, 2)), (5, 2))),
    "row negative": file(row_sparse([-1], np.ones((1, 2)), (5, 2))),
    "no element of a huge array of rows": file(row_sparse([], np.ones((0, 0)), (1 << 62, 0))),
    "rows that are huge when dense": file(row_sparse([1], np.ones((1, 2)), (HUGE, 2))),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model_algo-1"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="^'model_algo-1' is not an MXNet NDArray file that can be used: "):
            mxnet_files.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(ModelError):
        mxnet_files.load(content)


def test_a_file_cut_anywhere_is_refused() -> None:
    whole = file(
        dense(),
        csr([0, 1, 2], [0, 1], [1, 2], (2, 3)),
        row_sparse([1], np.ones((1, 2)), (5, 2)),
        names=(b"a", b"b", b"c"),
    )
    mxnet_files.load(whole)
    for end in range(len(whole)):
        with pytest.raises(ModelError):
            mxnet_files.load(whole[:end])


@settings(max_examples=500)
@given(st.data())
def test_a_file_with_other_bytes_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(file(dense(), csr([0, 1, 2], [0, 1], [1, 2], (2, 3)), names=(b"a", b"b")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.sampled_from([0, 1, 2, 127, 128, 255]))
    try:
        arrays = mxnet_files.load(bytes(whole))
    except ModelError:
        return
    assert all(array.nbytes <= 1 << 30 for array in (arrays.values() if isinstance(arrays, dict) else arrays))


# ---- the file in its folder ---------------------------------------------------------------------------------------


def test_a_file_that_is_absent_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'model_algo-1' cannot be read: No such file"):
        mxnet_files.load(tmp_path / "model_algo-1")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        mxnet_files.load(tmp_path)


def test_the_artifact_is_found_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file 'model_algo-1'; it holds: nothing"):
        mxnet_files.find(tmp_path)
    with pytest.raises(ModelError, match="it holds: nothing"):
        mxnet_files.find(tmp_path / "absent")
    (tmp_path / "model_algo-7").touch()
    assert mxnet_files.find(tmp_path).name == "model_algo-7"
    (tmp_path / "model_algo-8").touch()
    assert mxnet_files.find(tmp_path).name == "model_algo-7"
    (tmp_path / "model_algo-1").touch()
    assert mxnet_files.find(tmp_path).name == "model_algo-1"


# ---- symbols ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "variables"),
    [
        (mxnet_symbols.linear(3, 2, "softmax"), ["data", "fc0_weight", "fc0_bias"]),
        (mxnet_symbols.factorization_machine(5, 2, "sigmoid"), ["data", "v", "w1_weight", "w0_weight"]),
    ],
)
def test_a_symbol_file_is_a_graph_in_order(symbol: str, variables: list[str]) -> None:
    graph = json.loads(symbol)
    nodes = graph["nodes"]
    assert [nodes[number]["name"] for number in graph["arg_nodes"]] == variables
    assert all(source < number for number, node in enumerate(nodes) for source, *_ in node["inputs"])
    assert nodes[graph["heads"][0][0]]["name"] == "out"
    assert len({node["name"] for node in nodes}) == len(nodes)
    assert all(isinstance(value, str) for node in nodes for value in node.get("attrs", {}).values())


# ---- files that others change ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [mxnet_files.load, mxnet_files.shapes])
@pytest.mark.parametrize("kept", [30, 5000, 1 << 20])
def test_a_file_that_is_cut_short_while_it_is_read_is_an_error_and_no_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any, kept: int
) -> None:
    """A file that is mapped instead ends the process with SIGBUS."""
    path = tmp_path / "model_algo-1"
    mxnet_files.save(path, {"a": np.zeros(1000, np.float32), "b": np.ones(1 << 20, np.float32)})
    parse = mxnet_files._parse_file

    def cut(cursor: Any) -> Any:
        os.truncate(path, kept)
        return parse(cursor)

    monkeypatch.setattr(mxnet_files, "_parse_file", cut)
    with pytest.raises(ModelError, match="'model_algo-1' .* bytes when it was opened, and ends before byte"):
        read(path)


def test_a_server_lives_through_a_model_that_is_replaced_while_it_loads(tmp_path: Path) -> None:
    """A child loads again and again while the file is written anew: each time it is whole, or an error."""
    path = tmp_path / "model_algo-1"
    mxnet_files.save(path, [np.ones(1 << 20, np.float32)])
    program = (
        "import sys\nfrom algorithms.common import mxnet_files\nfrom algorithms.errors import ModelError\n"
        "for _ in range(300):\n try: mxnet_files.load(sys.argv[1])\n except ModelError: pass\nprint('alive')"
    )
    whole = path.read_bytes()
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            path.write_bytes(whole)
            os.truncate(path, len(whole) // 2)
        assert child.stdout is not None
        assert (child.returncode, child.stdout.read()) == (0, "alive\n")
