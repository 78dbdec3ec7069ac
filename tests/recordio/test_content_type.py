import pytest

from recordio.content_type import CSV, JSON_LINES, LIBSVM, PARQUET, RECORDIO, ContentType, parse
from recordio.errors import ContentTypeError


@pytest.mark.parametrize(
    ("text", "media_type"),
    [
        ("text/csv", CSV),
        ("csv", CSV),
        (" Text/CSV\t", CSV),
        ("libsvm", LIBSVM),
        ("text/libsvm ;charset=utf8", LIBSVM),
        ("text/x-libsvm", LIBSVM),
        ("parquet", PARQUET),
        ("application/x-parquet", PARQUET),
        ("recordio-protobuf", RECORDIO),
        ("application/X-RecordIO-protobuf", RECORDIO),
        ("application/jsonlines", JSON_LINES),
        ("image/png", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("Application/JPEG", "image/jpeg"),
        ("application/x-recordio", "application/x-recordio"),
    ],
)
def test_every_name_of_a_format_has_one_spelling(text, media_type):
    assert parse(text).media_type == media_type


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("text/csv;label_size=1", {"label_size": "1"}),
        ("text/csv \t;  Label_Size=1 ; CHARSET=UTF8 ", {"label_size": "1", "charset": "UTF8"}),
        ('text/csv; label_size="1"', {"label_size": "1"}),
        ("text/csv; label_size = 1;charset= utf8 ;a =2", {"label_size": "1", "charset": "utf8", "a": "2"}),
        ("text/csv; label_size=1; LABEL_SIZE = 1", {"label_size": "1"}),
        ("text/csv; delimiter = ;", {"delimiter": ";"}),
        (r'text/csv; a="x; y=\"\\z\""', {"a": r'x; y="\z"'}),
        ("text/csv;;; ;label_size=0;", {"label_size": "0"}),
        ('text/csv; a=""', {"a": ""}),
    ],
)
def test_parameters_follow_the_http_standard(text, parameters):
    assert parse(text).parameters == parameters


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "tsv",
        "/csv",
        "text/",
        "text/csv label_size=1",
        "text/csv; label_size",
        "text/csv; label_size=",
        "text/csv; label_size= ;a=1",
        'text/csv; a="x',
        'text/csv; a="x"y',
        "text/csv, text/libsvm",
        "text/csv; a=1; A=2",
        "text/csv\n",
    ],
)
def test_what_is_no_content_type_is_refused_by_name(text):
    with pytest.raises(ContentTypeError) as caught:
        parse(text)
    assert text in str(caught.value)


def test_a_content_type_prints_as_it_may_be_written():
    assert str(parse("CSV;Label_Size=1")) == "text/csv; label_size=1"


@pytest.mark.parametrize(("parameters", "expected"), [({}, None), ({"label_size": "0"}, 0), ({"label_size": "12"}, 12)])
def test_label_size_is_a_count(parameters, expected):
    assert ContentType(CSV, parameters).label_size == expected


@pytest.mark.parametrize("value", ["-1", "1.0", "one", "", "²", "9" * 5000])
def test_label_size_that_is_no_count_is_refused(value):
    with pytest.raises(ContentTypeError, match="label_size"):
        _ = ContentType(CSV, {"label_size": value}).label_size


@pytest.mark.parametrize("charset", ["utf8", "UTF-8", "utf_8_sig", "us-ascii", "latin1", "ISO-8859-15", "windows-1252"])
def test_charsets_that_hold_ascii_need_no_recoding(charset):
    assert parse(f"text/csv; charset={charset}").recoding is None


def test_wide_charsets_are_recoded():
    assert parse("text/csv; charset=UTF16").recoding == "utf-16"


@pytest.mark.parametrize("charset", ["klingon", "rot13", "hex", "idna", '"\\\u0000"', "ebcdic-cp-be"])
def test_other_charsets_are_refused(charset):
    with pytest.raises(ContentTypeError, match="charset"):
        _ = parse(f"text/csv; charset={charset}").recoding
