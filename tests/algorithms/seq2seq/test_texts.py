"""From two text files to channels that train."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from algorithms.errors import TrainingDataError
from algorithms.interface import JSON, JSON_LINES
from algorithms.seq2seq import requests, texts, vocabulary
from container.serving import texts as answers
from local.__main__ import main
from recordio.sequences import Ragged, decode_body


def lines(ragged: Ragged, file: Path) -> list[str]:
    return [vocabulary.read(file).text(part) for part in ragged]


def test_texts_read_back(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("a b\nB c\n\nd\n<s> a\n")
    (tmp_path / "fr").write_text("x\ny  z\nw\n \nx x\n")
    (tmp_path / "dev.en").write_text("a q\n")
    (tmp_path / "dev.fr").write_text("z\n")
    made = texts.make(
        tmp_path / "en",
        tmp_path / "fr",
        tmp_path / "out",
        validation=(tmp_path / "dev.en", tmp_path / "dev.fr"),
        lower=True,
    )
    assert (made.train, made.validation, made.left_out) == (3, 1, 2)
    words = json.loads((tmp_path / "out/vocab/vocab.src.json").read_text())
    assert words == {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "a": 4, "b": 5, "c": 6}
    pairs = decode_body((tmp_path / "out/train/train.rec").read_bytes(), "train")
    assert lines(pairs.source, tmp_path / "out/vocab/vocab.src.json") == ["a b", "b c", "<s> a"]
    assert lines(pairs.target, tmp_path / "out/vocab/vocab.trg.json") == ["x", "y z", "x x"]
    held_out = decode_body((tmp_path / "out/validation/val.rec").read_bytes(), "validation")
    assert lines(held_out.source, tmp_path / "out/vocab/vocab.src.json") == ["a <unk>"]


def test_a_source_is_on_one_side_and_rare_tokens_are_left_out(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "en.gz", "wt") as file:
        file.write("".join(f"say {number % 20}\n" for number in range(60)))
    (tmp_path / "fr").write_text("".join(f"dis {number}\n" for number in range(60)))
    made = texts.make(tmp_path / "en.gz", tmp_path / "fr", tmp_path / "out", share=0.25, least=2, size=3)
    assert (made.train, made.validation, made.source_vocabulary, made.target_vocabulary) == (45, 15, 7, 5)


def test_files_that_are_not_parallel_are_refused(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("a\nb\n")
    (tmp_path / "fr").write_text("x\n")
    with pytest.raises(TrainingDataError, match="has 2 lines, but .* has 1"):
        texts.make(tmp_path / "en", tmp_path / "fr", tmp_path / "out")
    (tmp_path / "fr").write_bytes(b"\xff\n\n")
    with pytest.raises(TrainingDataError, match="not UTF-8"):
        texts.make(tmp_path / "en", tmp_path / "fr", tmp_path / "out")


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("en", "fr"):
        (tmp_path / name).write_text("".join(f"{name} {number}\n" for number in range(40)))
    base = ["tokens", "--source", str(tmp_path / "en"), "--output", str(tmp_path / "out")]
    assert main([*base, "--target", str(tmp_path / "fr")]) == 0
    assert capsys.readouterr().out.startswith("38 pairs to train on, 2 to validate with, 0 left out")
    assert main([*base, "--target", str(tmp_path / "none")]) != 0
    assert main([*base, "--target", str(tmp_path / "fr"), "--validation-share", "2"]) != 0


def test_a_source_that_is_too_long_is_cut_as_in_training(caplog: pytest.LogCaptureFixture) -> None:
    """Beside others that are not; SageMaker documents for max_seq_len_source that longer ones are truncated to it."""
    words = vocabulary.Vocabulary.of(["a", "b", "c"])
    long = " ".join(["a", "b", "c"] * 40)
    found = requests.sources(["c", long, "b a"], words, 4)
    assert [words.text(ids) for ids in found] == ["c", "a b c a", "b a"]
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 3 sequences are longer than max_seq_len_source, 4; the longest has 120 tokens. Only the first 4 "
        "tokens of a sequence are translated."
    ]
    caplog.clear()
    assert len(requests.sources([long], words, 120)[0]) == 120
    assert not caplog.records


@pytest.mark.parametrize("media", [JSON, JSON_LINES])
def test_a_token_that_utf8_cannot_hold_is_kept_and_answered(tmp_path: Path, media: str) -> None:
    """A lone surrogate, as Python makes one of a byte that is not UTF-8, and writes it to JSON."""
    words = {**{symbol: number for number, symbol in enumerate(vocabulary.SYMBOLS)}, "caf\udce9": 4, "é": 5}
    (tmp_path / "in.json").write_text(json.dumps(words))
    kept = vocabulary.read(tmp_path / "in.json")
    (tmp_path / "out.json").write_text(kept.to_json(), "utf-8")
    assert json.loads((tmp_path / "out.json").read_bytes()) == words
    said = answers.write({answers.TOKENS: [[5, 4]], "target": [kept.text([5, 4])]}, media, "predictions")
    assert "é".encode() in said
    assert json.loads(said) in ({"predictions": [{"target": "é caf\udce9"}]}, {"target": "é caf\udce9"})
