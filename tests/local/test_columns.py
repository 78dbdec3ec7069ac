"""CSV and Parquet files as pandas writes them, with ``--label`` and ``--header``: models and answers are those of files
in the order that the algorithms read."""

from __future__ import annotations

import bz2
import io
import lzma
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from container.settings import ConfigurationError
from local.columns import Columns, Form, Table, opened
from recordio.content_type import ContentType
from recordio.quoting import quoted
from recordio.record_writer import encode_records
from tests.local.toy import oba

RANDOM = np.random.default_rng(7)
FEATURES = pd.DataFrame(RANDOM.normal(size=(120, 3)), columns=["height", "sepal width, cm", 'a "b"']).astype(np.float32)
FEATURES["wild"] = RANDOM.random(120) < 0.5  # written as True and False
NUMBERS = FEATURES.astype(np.float32).to_numpy()
LABELS = (NUMBERS @ np.array([1, -2, 3, 0.5], np.float32) > 0).astype(np.float32)
FRAME = FEATURES.assign(species=np.where(LABELS, "setosa", "virginica"))
SUPERVISED = {
    "linear-learner": ["predictor_type=binary_classifier"],
    "xgboost": ["objective=binary:logistic", "num_round=3", "nthread=1"],
    "factorization-machines": ["predictor_type=binary_classifier", "num_factors=2", "epochs=2", "mini_batch_size=20"],
}


def model(folder):
    return {
        file.name: file.read_bytes()
        for file in sorted((folder / "model").rglob("*"))
        if file.is_file() and not file.name.endswith("-meta.json")
    }


@pytest.mark.parametrize("name", SUPERVISED)
def test_columns_of_another_channel_are_told_by_their_names(name, tmp_path, capsys):
    """XGBoost reads Parquet as it is, for the others it is rewritten. The label of each is its first column."""
    frame = FEATURES.assign(wild=FEATURES["wild"].astype(np.float32))
    frame.insert(0, "y", LABELS)
    frame.to_parquet(tmp_path / "train.parquet")
    held_out = "--validation" if name == "xgboost" else "--test"
    told = []
    for columns in (frame.columns, frame.columns[::-1]):
        frame[columns].to_parquet(tmp_path / "test.parquet")
        capsys.readouterr()
        words = ["--train", tmp_path / "train.parquet", held_out, tmp_path / "test.parquet", *SUPERVISED[name]]
        assert oba("train", name, *words, "--output", tmp_path / str(len(told))) == 0
        told += [line for line in capsys.readouterr().out.splitlines() if line.startswith("Scores")]
    first, second = told
    assert first == second


@pytest.fixture
def answer(capsys):
    """What ``oba predict`` prints."""

    def ask(*words):
        capsys.readouterr()
        assert oba("predict", *words) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return ask


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_supervised_algorithm_takes_pandas_files_as_they_are(name, tmp_path, answer):
    order = FEATURES.assign(y=LABELS.astype(int))
    order.to_csv(tmp_path / "_train.csv", index=False)  # no data in a folder, and data where it is named
    order[order.columns[::-1]].to_csv(tmp_path / "test.csv.gz", index=False)  # another order: the names decide
    order.to_parquet(tmp_path / "train.parquet")
    order.to_parquet(tmp_path / "test.parquet")
    (tmp_path / "train.pbr").write_bytes(encode_records(NUMBERS, LABELS))
    (tmp_path / "test.pbr").write_bytes(encode_records(NUMBERS, LABELS))
    held_out = "--validation" if name == "xgboost" else "--test"
    models = {}
    for kind, *columns in (
        ("pbr",),
        ("csv", "--label", "y"),
        ("csv", "--header", "--label", -1),
        ("parquet", "--label", "y"),
    ):
        out = tmp_path / f"{kind}{len(columns)}"
        test = next(tmp_path.glob(f"test.{kind}*"))
        data = ["--train", next(tmp_path.glob(f"*train.{kind}")), held_out, test, *columns]
        if -1 in columns:  # whose last column is no label
            data[3] = tmp_path / "_train.csv"
        assert oba("train", name, *SUPERVISED[name], *data, "--output", out, "--quiet") == 0
        models[out.name] = model(out)
    assert models["pbr0"] and all(one == models["pbr0"] for one in models.values())
    of_model = ["--model", tmp_path / "csv2" / "model", "--input"]
    FEATURES.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.pbr").write_bytes(encode_records(NUMBERS))
    expected = answer(*of_model, tmp_path / "rows.pbr")
    assert answer(*of_model, tmp_path / "rows.csv", "--header") == expected
    assert answer(*of_model, tmp_path / "_train.csv", "--label", "y") == expected


def test_labels_that_an_algorithm_does_not_use_are_left_out(tmp_path, answer):
    FRAME.to_csv(tmp_path / "labelled.csv", index=False, sep=";", encoding="utf-8-sig")  # as Excel writes it in Europe
    FRAME.to_parquet(tmp_path / "labelled.parquet")
    np.savetxt(tmp_path / "plain.csv", NUMBERS, delimiter=",", fmt="%.9g")
    semicolon = ["--content-type", "text/csv; delimiter=semicolon"]
    for file, *more in (
        ("plain.csv",),
        ("labelled.csv", *semicolon, "--label", "species"),
        ("labelled.parquet", "--label", "species"),
    ):
        out = tmp_path / file.rpartition(".")[2] / str(len(more))
        assert oba("train", "kmeans", "k=3", "--train", tmp_path / file, *more, "--output", out, "--quiet") == 0
        assert model(out) == model(tmp_path / "csv" / "0")
    of_model = ["--model", tmp_path / "csv" / "0" / "model", "--input"]
    labelled = answer(*of_model, tmp_path / "labelled.csv", *semicolon, "--label", "species")
    assert labelled == answer(*of_model, tmp_path / "plain.csv")


def test_the_index_of_a_frame_in_parquet_is_no_feature(tmp_path):
    """pandas writes an index that is no plain count as a column, and takes it for the index when it reads the file."""
    frame = FEATURES.assign(size=pd.Categorical.from_codes(np.arange(120) % 2, [30, 10]))
    frame.to_parquet(tmp_path / "plain.parquet")
    frame.set_index(1000 + np.arange(120)[::-1]).to_parquet(tmp_path / "indexed.parquet")
    numbers = np.column_stack([NUMBERS, np.where(np.arange(120) % 2, 10, 30)]).astype(np.float32)
    (tmp_path / "plain.pbr").write_bytes(encode_records(numbers))
    (tmp_path / "parts").mkdir()
    frame[:50].to_parquet(tmp_path / "parts" / "0.parquet")
    frame.loc[50:, frame.columns[::-1]].to_parquet(tmp_path / "parts" / "1.parquet")  # names tell the columns
    for name in ("plain.pbr", "plain.parquet", "indexed.parquet", "parts"):
        out = tmp_path / f"from-{name}"
        assert oba("train", "kmeans", "k=3", "--train", tmp_path / name, "--output", out, "--quiet") == 0
        assert model(out) == model(tmp_path / "from-plain.pbr")


@pytest.mark.parametrize("options", [{"sep": "\t"}, {"lineterminator": "\r\n"}, {"encoding": "utf-16"}, {"quoting": 1}])
def test_a_table_is_what_pandas_reads(options, tmp_path):
    frame = FEATURES.assign(**{"größe\n(cm)": RANDOM.normal(size=120)})
    frame.iloc[3, 1] = math.nan
    frame.to_csv(tmp_path / "a.csv", index=False, **options)
    parameters = {"charset": options.get("encoding", "utf-8")}
    with opened((tmp_path / "a.csv").open("rb"), ContentType("text/csv", parameters)) as text:
        form = Form(columns=Columns("-2", header=True), what="a.csv", delimiter=options.get("sep", ","), missing=True)
        table = Table(text, form)
        rows = [[float(field or "nan") for field in row] for row in table]
    read = {name: options[name] for name in ("sep", "encoding") if name in options}
    expected = pd.read_csv(tmp_path / "a.csv", **read)
    assert table.names == list(expected.columns)
    np.testing.assert_array_equal(rows, expected.drop(columns="wild").astype(float))


def text(*lines):
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        (
            text("y,a", "1,2"),
            [],
            "the first line has no numbers, but 'y', 'a'. If these are the names of the columns, add",
        ),
        (
            text("y,job", "1,2", "0,clerk"),
            ["--header"],
            "row 2 (line 3), column 'job': 'clerk' is text, and a number is",
        ),
        (text("y,job", "1,2", "0,clerk"), ["--header"], "get_dummies(frame, columns=['job'])"),
        (text("1,2", "0,clerk"), ["--label", "0"], "row 2 (line 2), column 1 (counted from 0): 'clerk' is text"),
        (text("a,y", "1,good"), ["--label", "y"], "label 'y': 'good' is text, and a number is expected; number the"),
        (
            text("a,y", "1,0", "1,"),
            ["--label", "y"],
            "row 2 (line 3), label 'y': the field is empty; fill it, or leave",
        ),
        (text("a,y", "1,0", "inf,1"), ["--label", "y"], "row 2 (line 3), column 'a': 'inf' is not a finite number"),
        (text("a,y", "1_000,1"), ["--label", "y"], "column 'a': '1_000' is text, and a number is expected"),
        (text("1,2,3", "1,2,clerk"), [], "row 2, column 2 (counted from 0): 'clerk' is text, and a number is expected"),
        (text("yes,2,3"), [], "row 1, label 0 (counted from 0): 'yes' is text, and a number is expected; number the"),
        (text("a,y", ",0"), ["--label", "y"], "row 1 (line 2), column 'a': the field is empty"),
        (text("a,y", "1,0"), ["--label", "-1"], "the first line has no numbers, but 'a', 'y'. If these are the names"),
        (text("a;y", "1;0"), ["--label", "y"], "there is one, 'a;y'; is another delimiter meant? --"),
        (text("a,target", "1,0"), ["--label", "traget"], "there is no column 'traget'; did you mean 'target'?"),
        (
            text("a,y", "1,0"),
            ["--label", "2", "--header"],
            "no column '2'; there are 2, from 0 to 1, and -1 is the last",
        ),
        ("größe,y\n1,0\n".encode("latin-1"), ["--label", "groesse"], "charset=latin-1' says what it is"),
        ("a,y\n1,0\n".encode("utf-16"), ["--header"], "charset=utf-16' says what it is"),
        ("a,y\n1,0\n".encode("utf-16"), [], "charset=utf-16' says what it is"),
        (text("# made by hand", "a,y", "1,0"), ["--label", "y"], "for the first line is to name the columns"),
        (text("a,a", "1,0"), ["--label", "a"], "two columns are called 'a'"),
        (text(",a,y", "0,1,0"), ["--label", "y"], "frame.to_csv(FILE, index=False) leaves it out"),
        (text("a,y", "1,0,3"), ["--label", "y"], "row 1 (line 2): 3 fields, and 2 in the first line"),
        (text("a,y", "1;0"), ["--label", "y"], "is another delimiter meant?"),
        (text("y", "1"), ["--label", "y"], "there is no column beside the label"),
        (b"", ["--header"], "there are no rows"),
        (b'a,y\n"1', ["--label", "y", "--content-type", "text/csv;charset=what"], "charset"),
        (text("a,y"), ["--header", "--content-type", "text/csv;charset=utf-16"], "not in the stated charset: UTF-16"),
        (text("a,y"), ["--header", "--content-type", "text/csv;charset=utf-16"], "says their order, as utf-16-le or"),
        (
            text("a,y", "1,0"),
            ["--label", "y", "--content-type", "text/csv;label_size=1"],
            "both say where the label is",
        ),
        (
            text("a,y", "1,0"),
            ["--label", "y", "--content-type", "text/libsvm"],
            "are for CSV and Parquet files of rows",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(content, options, told, tmp_path, capsys):
    (tmp_path / "rows.csv").write_bytes(content)
    data = ["--train", tmp_path / "rows.csv", *options]
    name = "xgboost" if "text/libsvm" in options else "linear-learner"
    given = ["num_round=1"] if name == "xgboost" else ["predictor_type=regressor"]
    assert oba("train", name, *given, *data, "--output", tmp_path / "out") == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()


def test_other_channels_have_the_columns_of_the_first(tmp_path, capsys):
    (tmp_path / "train.csv").write_bytes(text("a,b,y", "1,2,0", "2,1,1"))
    (tmp_path / "test.csv").write_bytes(text("a,c,y", "1,2,0"))
    data = ["--train", tmp_path / "train.csv", "--test", tmp_path / "test.csv", "--label", "y"]
    assert oba("train", "linear-learner", "predictor_type=regressor", *data, "--output", tmp_path / "out") == 1
    assert "not those of the first file: 'b' lacking, 'c' added" in capsys.readouterr().err


def test_a_request_with_a_header_is_told_what_to_add(tmp_path, capsys):
    FEATURES.to_csv(tmp_path / "rows.csv", index=False)
    job = ["train", "kmeans", "k=2", "--train", tmp_path / "rows.csv", "--header", "--output", tmp_path / "out", "-q"]
    assert oba(*job) == 0
    assert oba("predict", "--model", tmp_path / "out" / "model", "--input", tmp_path / "rows.csv") == 1
    assert "the first line has no numbers, but 'height'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["linear-learner", "xgboost"])
def test_a_request_with_the_label_in_it_is_told_to_name_it(name, tmp_path, capsys):
    """And not of ``label_size``, which is a server's word."""
    file = tmp_path / "rows.csv"
    FEATURES.assign(y=LABELS.astype(int)).to_csv(file, index=False)
    words = ["train", name, "--train", file, "--label", "y", *SUPERVISED[name], "--output", tmp_path / "out", "-q"]
    assert oba(*words) == 0
    ask = ["predict", "--model", tmp_path / "out", "--input", file]
    assert oba(*ask, "--header") == 1
    message = capsys.readouterr().err
    assert "none lacking, 'y' added; if that is the label, --label y leaves it out" in message
    assert "label_size" not in message
    plain = tmp_path / "plain.csv"
    np.savetxt(plain, np.column_stack([NUMBERS, LABELS]), delimiter=",")
    assert oba(*ask[:-1], plain) == 1
    message = capsys.readouterr().err
    assert "5" in message and "4" in message
    assert "--label NAME, or its number, --label 0 for the first" in message and "label_size" not in message
    np.savetxt(plain, NUMBERS[:, :3], delimiter=",")
    assert oba(*ask[:-1], plain, "--label", 0) == 1
    message = capsys.readouterr().err
    assert "label_size" not in message and "--label NAME" not in message
    if name == "linear-learner":
        assert "rows have 2 columns beside the label, '0', and the model takes 4 features" in message


@pytest.mark.slow
def test_a_search_and_standard_input_take_them_too(tmp_path, monkeypatch):
    content = FEATURES.assign(y=LABELS).to_csv(index=False)
    (tmp_path / "rows.csv").write_text(content)
    data = ["--train", tmp_path / "rows.csv", "--validation", tmp_path / "rows.csv", "--label", "y"]
    words = ["linear-learner", "predictor_type=regressor"]
    assert oba("tune", *words, "wd=0.01..1", "--jobs", 1, *data, "--output", tmp_path / "search", "--quiet") == 0
    stdin = io.TextIOWrapper(io.BytesIO(content.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    data = ["--train", "-", "--content-type", "text/csv", "--label", "y"]
    assert oba("train", *words, *data, "--output", tmp_path / "out", "--quiet") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,5;2,5\n2,5;3,5\n", ["'5;2' is no number", "delimiter=semicolon", "read_csv(FILE, decimal=',', sep=';'"]),
        ("1,5\t2,5\n2,5\t3,5\n", ["delimiter=tab"]),
        ('"1,5","2,5"\n"2,5","3,5"\n', ["'1,5' has a decimal comma"]),
        ('1.5,"2,5"\n2.5,"3,5"\n', ["'2,5' has a decimal comma"]),
    ],
)
def test_decimal_commas_are_told_with_what_to_do(text, words, tmp_path, capsys):
    file = tmp_path / "rows.csv"
    file.write_text(text)
    assert oba("train", "kmeans", "--train", file, "k=2", "--output", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert not [word for word in words if word not in message], message
    assert "get_dummies" not in message


@pytest.mark.parametrize(
    ("written", "lines", "delimiter", "header", "column"),
    [
        ("39019,77", "age;income\n1;39019,77\n2;1,5\n", ";", True, [39019.77, 1.5]),
        ("39019,77", "1;39019,77\n2;1,5\n", ";", False, [39019.77, 1.5]),
        ("39,019.77", 'age,income\n1,"39,019.77"\n2,"1,234"\n', ",", True, [39019.77, 1234]),
        ("39.019,77", "age\tincome\n1\t39.019,77\n2\t1.234,5\n", "\t", True, [39019.77, 1234.5]),
        ("39'019.77", "age,income\n1,39'019.77\n2,1.5\n", ",", True, [39019.77, 1.5]),
        ("39’019.77", "age,income\n1,39’019.77\n2,1.5\n", ",", True, [39019.77, 1.5]),
        ("39\u202f019,5", "1;39\u202f019,5\n2;1,5\n", ";", False, [39019.5, 1.5]),
        ("39 019", "age,income\n1,39 019\n2,1.5\n", ",", True, [39019, 1.5]),
        ("?", "age,income\n1,?\n2,1.5\n", ",", True, [math.nan, 1.5]),
        ("-", "1,-\n2,1.5\n", ",", False, [math.nan, 1.5]),
    ],
)
def test_what_pandas_is_told_to_write_can_be_read(written, lines, delimiter, header, column, tmp_path):
    file, new = tmp_path / "rows.csv", tmp_path / "new.csv"
    file.write_text(lines)
    form = Form(columns=Columns(header=header), what="rows.csv", delimiter=delimiter, missing=True)
    with file.open(newline="") as stream, pytest.raises(ConfigurationError) as refused:
        list(Table(stream, form))
    assert quoted(written) in str(refused.value)
    (told,) = re.findall(r"read_csv\(.+?\)\.to_csv\(.+?\)", str(refused.value))
    eval(told, {"read_csv": pd.read_csv, "FILE": file, "NEW": new})  # noqa: S307 - our own message
    with new.open(newline="") as stream:
        found = [float(row[1] or "nan") for row in Table(stream, form)]
    np.testing.assert_array_equal(found, column)


@pytest.mark.parametrize(
    ("values", "told", "numbers"),
    [
        (["2020-01-03", "2020-01-01"], "is a date, and a number is", [2, 0]),
        (["2020-01-03 00:00:00", "2020-01-01 00:00:00"], "is a date, and a number is", [2, 0]),
        (["2020-01-01T10:00:00+02:00", "2020-01-03 10:00", "2020-01-05"], "is a date, and a number is", [0, 2, 3]),
        (["3.2.2020", "31.1.2020"], "is a date, and a number is", [3, 0]),
        (["31/01/2020", "03/02/2020"], "is a date, and a number is", [0, 3]),
        (["01/31/2020", "02/03/2020"], "with dayfirst=True where the day comes before the month", [0, 3]),
        (["01:00:30", "00:00:01.5"], "is a time, and a number is", [3630, 1.5]),
        (["$39019.77", "-$1,234.50"], "is more than a number", [39019.77, -1234.5]),
        (["39.0%", "1%"], "is more than a number", [39, 1]),
        (["12 kg", "1.5 kg"], "is more than a number", [12, 1.5]),
        (["3B", "2A"], "is text, and a number is expected; leave the column out, or make", None),
        (["10-20", "20-30"], "is text, and a number is expected; leave the column out, or make", None),
    ],
)
def test_what_pandas_is_told_to_make_are_numbers(values, told, numbers, tmp_path):
    frame = pd.DataFrame({"a": range(len(values)), "b": values})
    stream = io.StringIO(frame.to_csv(index=False))
    with pytest.raises(ConfigurationError, match=told) as refused:
        list(Table(stream, Form(columns=Columns(header=True), what="rows.csv")))
    names = {"frame": frame, "to_datetime": pd.to_datetime, "to_timedelta": pd.to_timedelta}
    *steps, last = str(refused.value).rpartition("as pandas does: ")[2].split("; ")
    for step in steps:
        exec(step, names)
    if numbers is not None:
        np.testing.assert_array_equal(eval(last, names), numbers)  # noqa: S307 - our own message


@pytest.mark.parametrize("header", [True, False])
def test_what_pandas_is_told_to_fill_is_filled(header, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(("age,b\n" if header else "") + "1,?\n2,3\n3,5\n")
    with file.open(newline="") as stream, pytest.raises(ConfigurationError, match="for a missing value; fill") as said:
        list(Table(stream, Form(columns=Columns(header=header), what="rows.csv")))
    reading, _, filling = str(said.value).rpartition("frame = ")[2].partition(", or leave")[0].partition("; ")
    frame = eval(reading, {"read_csv": pd.read_csv, "FILE": file})  # noqa: S307 - our own message
    filled = eval(filling, {"frame": frame})  # noqa: S307 - our own message
    np.testing.assert_array_equal(filled, [[1, 4], [2, 3], [3, 5]])


@pytest.mark.parametrize("word", ["?", "NA", "n/a", "None", "missing"])
def test_rows_without_a_label_are_left_out_as_pandas_is_told(word, tmp_path):
    """Some of these words are missing values to pandas, whatever it is told, and others are not."""
    file = tmp_path / "rows.csv"
    file.write_text(f"y,b\n{word},2\n1,3\n0,5\n")
    form = Form(columns=Columns(header=True), what="rows.csv", labelled=True)
    with file.open(newline="") as stream, pytest.raises(ConfigurationError, match="for a missing value; leave") as said:
        list(Table(stream, form))
    reading, _, rest = str(said.value).rpartition("frame = ")[2].partition("; ")
    frame = eval(reading, {"read_csv": pd.read_csv, "FILE": file})  # noqa: S307 - our own message
    np.testing.assert_array_equal(eval(rest, {"frame": frame}), [[1, 3], [0, 5]])  # noqa: S307 - our own message


def test_true_and_false_are_read_without_a_header(tmp_path, answer):
    """As in a file with one, in training and when the model is asked."""
    (tmp_path / "words.csv").write_text("True,1,0\nfalse,2,1\nTRUE,3,0\nFalse,4,1\n")
    (tmp_path / "numbers.csv").write_text("1,1,0\n0,2,1\n1,3,0\n0,4,1\n")
    for name in ("words", "numbers"):
        words = ["--train", tmp_path / f"{name}.csv", "--output", tmp_path / name, "--quiet"]
        assert oba("train", "kmeans", "k=2", *words) == 0
    assert model(tmp_path / "words") == model(tmp_path / "numbers")
    ask = ["--model", tmp_path / "numbers", "--input"]
    assert answer(*ask, tmp_path / "words.csv") == answer(*ask, tmp_path / "numbers.csv")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rows.xlsx", "read_excel(FILE).to_csv(NEW, index=False)"),
        ("rows.json", "read_json(FILE).to_csv(NEW, index=False)"),
        ("rows.zip", ".zip files are not unpacked"),
    ],
)
def test_other_forms_of_rows_are_told_with_what_to_do(name, told, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"PK")
    words = ["train", "kmeans", "--train", tmp_path / name, "k=2", "--output", tmp_path / "out"]
    for columns in ([], ["--label", "0"]):
        assert oba(*words, *columns) == 1
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_a_wide_charset_is_told_as_one_that_reads_the_file(charset, tmp_path, capsys):
    """utf-16 was named for each of them, and then refused for want of a byte order mark."""
    rows = tmp_path / "rows.csv"
    for header, content in (
        ([], "1,2\n3,4\n"),
        (["--header"], "a,b\n1,2\n3,4\n"),
        (["--header"], '"a","b"\n1,2\n3,4\n'),
    ):
        rows.write_bytes(content.encode(charset))
        words = ["train", "kmeans", "--train", rows, "k=2", "--output", tmp_path / "out", "--quiet", *header]
        assert oba(*words) == 1
        told = capsys.readouterr().err
        assert f"rows.csv: the file is not UTF-8: --content-type 'text/csv; charset={charset}' says what it is" in told
        assert "add --header" not in told
        assert oba(*words, "--content-type", f"text/csv; charset={charset}") == 0


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_what_is_compressed_is_told_whatever_its_name(pack, tmp_path, capsys, monkeypatch):
    """It was said to have a header, or another charset."""
    rows = tmp_path / "rows.csv"
    rows.write_bytes(text("1,2", "3,4"))
    assert oba("train", "kmeans", "--train", rows, "k=2", "--output", tmp_path / "out", "--quiet") == 0
    rows.write_bytes(pack(rows.read_bytes()))
    ask = ["predict", "--model", tmp_path / "out", "--content-type", "text/csv", "--input"]
    again = ["train", "kmeans", "--train", rows, "k=2", "--output", tmp_path / "again"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(rows.read_bytes())))
    for words in (again, [*again, "--header"], [*ask, rows], [*ask, "-"]):
        assert oba(*words) == 1
        assert "gzip alone is decompressed: unpack it first" in capsys.readouterr().err


def test_the_first_column_of_parquet_is_said_to_be_the_label(tmp_path, capsys):
    FEATURES.assign(y=LABELS).to_parquet(tmp_path / "rows.parquet")
    words = ["train", "linear-learner", "--train", tmp_path / "rows.parquet", "predictor_type=regressor"]
    assert oba(*words, "--output", tmp_path / "out") == 0
    told = capsys.readouterr().out
    assert "Label   the first column, 'height'; --label NAME takes another" in told
    assert told.endswith("--input FILE --label height\n")


@pytest.mark.parametrize("name", ["linear-learner", "xgboost"])
def test_a_model_is_asked_in_parquet(name, tmp_path, answer, capsys):
    FEATURES.assign(y=LABELS).to_parquet(tmp_path / "labelled.parquet")
    FEATURES.to_csv(tmp_path / "rows.csv", index=False)
    FRAME.to_parquet(tmp_path / "text.parquet")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    words = ["--train", tmp_path / "labelled.parquet", "--label", "y", *SUPERVISED[name], "--quiet"]
    assert oba("train", name, *words, "--output", tmp_path / "out") == 0
    ask = ["--model", tmp_path / "out", "--input"]
    expected = answer(*ask, tmp_path / "rows.csv", "--header")
    assert answer(*ask, tmp_path / "labelled.parquet", "--label", "y") == expected
    for file, told in (
        ("text", "besides the column 'species'"),
        ("damaged", "is not a Parquet file"),
        ("labelled", "besides the column 'y', unlike the data that the model was trained on; if that is the label, --"),
    ):
        assert oba("predict", *ask, tmp_path / f"{file}.parquet") == 1
        assert told in capsys.readouterr().err


def test_a_header_without_a_label_says_which_column_is_taken_for_it(tmp_path, capsys):
    file, out = tmp_path / "rows.csv", tmp_path / "out"
    FEATURES.assign(y=LABELS).to_csv(file, index=False)
    words = ["train", "linear-learner", "--train", file, "predictor_type=regressor", "--output", out, "--header"]
    assert oba(*words) == 0
    shown = capsys.readouterr()
    assert "Label   the first column, 'height'; --label NAME takes another" in shown.out + shown.err
    assert oba(*words, "--label", "y") == 0
    shown = capsys.readouterr()
    assert "--label NAME" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"A,B,Y\n1,2,3\n2,3,4\n", "did you mean 'Y'?"),
        ("a,b,y\n1,2,3\n".encode("utf-16"), "the file is not UTF-8: --content-type 'text/csv; charset=utf-16'"),
        (b'a,b,y\n"1,2,3\n2,3,4\n', "a quotation mark is not closed"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(content, words, tmp_path, capsys):
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    more = ["predictor_type=regressor", "--label", "y", "--output", tmp_path / "out"]
    assert oba("train", "linear-learner", "--train", file, *more) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("y", ["yes", "no"], "label 'y' is of type.*frame['y'].factorize(sort=True)[0]"),
        ("a", ["yes", "no"], "column 'a' is of type.*get_dummies(frame, columns=['a'])"),
        ("a", ["2.5", "3"], "column 'a' is of type.*frame['a'].astype(float)"),
        ("a", [None, "2026-01-01"], "'2026-01-01' is a date.*(days - days.min()).dt.days"),
        ("a", pd.Categorical(["08:15:00", "09:00:00"]), "'08:15:00' is a time.*dt.total_seconds()"),
        ("a", pd.to_datetime(["2026-01-01", "2026-01-03"]), "(days - days.min()).dt.days"),
        ("a", pd.to_timedelta([1, 2], unit="h"), "frame['a'].dt.total_seconds()"),
    ],
)
def test_what_is_no_number_in_parquet_is_told_with_what_to_do(column, values, said, tmp_path, capsys):
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [0, 1]}).assign(**{column: values})
    frame.to_parquet(tmp_path / "rows.parquet")
    words = ["--train", tmp_path / "rows.parquet", "--label", "y", "predictor_type=binary_classifier"]
    assert oba("train", "linear-learner", *words, "--output", tmp_path / "out") == 1
    message = capsys.readouterr().err
    assert all(part in message for part in said.split(".*")), message
    if "dt." in said or "factorize" in said:  # what is told makes numbers of it
        names = {"frame": frame, "to_datetime": pd.to_datetime, "to_timedelta": pd.to_timedelta}
        first, _, last = message.strip().rpartition("pandas does: ")[2].rpartition("; ")
        exec(first, names)  # our own words
        assert len(set(eval(last, names))) == 2  # noqa: S307
        assert pd.api.types.is_numeric_dtype(np.asarray(eval(last, names)))  # noqa: S307


def test_a_header_without_rows_is_told(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("a,b\n")
    assert (
        oba("train", "kmeans", "--train", tmp_path / "rows.csv", "--header", "k=2", "--output", tmp_path / "out") == 1
    )
    assert "rows.csv: there are no rows below the names of the columns" in capsys.readouterr().err
