"""The filters of batch transform: the operators that SageMaker's guide lists, and its examples."""

import pytest

from local.batch.json_path import PathError, parse

RECORD = {"id": 7, "features": [10, 11, 12, 13, 14], "SageMakerOutput": {"label": 1, "scores": [0.1, 0.9]}}
ROW = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("text", "document", "expected"),
    [
        ("$", RECORD, RECORD),
        ("$.id", RECORD, 7),
        ("$.features", RECORD, [10, 11, 12, 13, 14]),
        ("$['features']", RECORD, [10, 11, 12, 13, 14]),
        ('$["id"]', RECORD, 7),
        ("$['id','SageMakerOutput']", RECORD, {"id": 7, "SageMakerOutput": RECORD["SageMakerOutput"]}),
        ("$['id', 'SageMakerOutput']", RECORD, {"id": 7, "SageMakerOutput": RECORD["SageMakerOutput"]}),
        ("$.SageMakerOutput.label", RECORD, 1),
        ("$.SageMakerOutput.scores[-1]", RECORD, 0.9),
        ("$.SageMakerOutput.['label','scores']", RECORD, RECORD["SageMakerOutput"]),
        ("$.SageMakerOutput.*", RECORD, [1, [0.1, 0.9]]),
        ("$.features[*]", RECORD, [10, 11, 12, 13, 14]),
        ("$[0]", ROW, "a"),
        ("$[-1]", ROW, "e"),
        ("$[1,3,4]", ROW, ["b", "d", "e"]),
        ("$[0, -1]", ROW, ["a", "e"]),
        ("$[2:4]", ROW, ["c", "d"]),
        ("$[:2]", ROW, ["a", "b"]),
        ("$[3:]", ROW, ["d", "e"]),
        ("$[0:-1]", ROW, ["a", "b", "c", "d"]),
        ("$[9:]", ROW, []),
        ("$.rows[1:].x", {"rows": [{"x": 1}, {"x": 2}, {"x": 3}]}, [2, 3]),
        (" $ ", RECORD, RECORD),
    ],
)
def test_what_a_filter_selects(text, document, expected):
    assert parse(text).select(document) == expected


@pytest.mark.parametrize(
    ("text", "document", "message"),
    [
        ("$[5]", ROW, "no index 5 in a list of 5"),
        ("$[-6]", ROW, "no index -6"),
        ("$.name", RECORD, "no 'name' in"),
        ("$['id','x']", RECORD, "no 'x' in"),
        ("$.id", ROW, "a name needs a JSON object, found"),
        ("$[0]", RECORD, "an index needs a list, found"),
        ("$.id.*", RECORD, "nothing to choose from in 7"),
    ],
)
def test_what_is_not_there_is_said(text, document, message):
    with pytest.raises(PathError, match=message.replace("[", r"\[")):
        parse(text).select(document)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "id",
        "$id",
        "$.",
        "$..id",
        "$[",
        "$[]",
        "$[a]",
        "$[1:2:3]",
        "$[0:2,246:]",
        "$['a",
        "$['a' 'b']",
        "$['a',]",
        "$[?(@.x)]",
        "$[0]]",
        "$." + "x" * 62,
        "$[99999999999999999999]",
        "$[(1)]",
    ],
)
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(PathError):
        parse(text)
