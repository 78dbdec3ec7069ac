"""Sequence to sequence beside a plain LSTM in PyTorch and Joey NMT, trained on the same pairs.

    python -m benchmarks.seq2seq [--updates 600] [--peer torch] [--task sentences] [--joeynmt PYTHON]

English to French sentences (Tatoeba) by BLEU, and the pronunciation of words (CMU) by the share of wrong phonemes. Both
sides have the same sizes: embeddings and hidden units of 256, one bidirectional LSTM layer that reads, one that writes,
with attention by a small network and its result fed back; Adam at 0.001, 64 pairs an update, beams of 5. Speed is in
target tokens, of which no side counts those that only fill up. Joey NMT makes as many updates as ours. The plain LSTM
(``benchmarks/torch_lstm.py``), the stronger peer, has no input feeding, so that all words of a target are one call; it
trains for the processor seconds that our whole job took, all on one core. The peers live in environments of their own,
made on first use (``.interop``), unless ``--joeynmt`` names the Python of one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from algorithms.seq2seq import texts
from algorithms.seq2seq.evaluation import bleu
from algorithms.seq2seq.model import load
from benchmarks.common import SHARED_DATA
from benchmarks.lines import Line
from tests.interop.environments import python_of

JOEY_REQUIREMENTS = ("torch==2.13.0", "joeynmt==2.3.0", "importlib_metadata")
TORCH_REQUIREMENTS = ("torch==2.13.0",)
ONE_CORE = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
HIDDEN, BATCH, RATE, BEAM, WORDS = 256, 64, 0.001, 5, 8000
HELD_OUT, TESTED = 400, 400
EVERY = 50  # updates between two lines of either log


class Task(NamedTuple):
    """Pairs of token texts."""

    name: str
    train: list[tuple[str, str]]
    validation: list[tuple[str, str]]
    test: list[tuple[str, str]]


class Result(NamedTuple):
    """What a side needed and reached."""

    tokens_a_second: float
    seconds: float
    cpu_seconds: float
    found: list[str]


def split(name: str, pairs: Sequence[tuple[str, str]]) -> Task:
    """All pairs of a source on one side."""
    sources = sorted({source for source, _ in pairs})
    order = np.random.default_rng(0).permutation(len(sources))
    test, held_out = ({sources[i] for i in order[at : at + n]} for at, n in ((0, TESTED), (TESTED, HELD_OUT)))
    first: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        if pair[0] in test:
            first.setdefault(pair[0], pair)
    train = [pair for pair in pairs if pair[0] not in test | held_out]
    return Task(name, train, [pair for pair in pairs if pair[0] in held_out], list(first.values()))


def sentences() -> Task:
    """English to French."""
    with zipfile.ZipFile(SHARED_DATA / "tatoeba-fra-eng" / "fra-eng.zip") as archive:
        lines = archive.read("fra.txt").decode().splitlines()

    def tokens(text: str) -> str:
        return " ".join(re.findall(r"\w+['’]?|[^\w\s]", text.lower()))

    return split("tatoeba-fra-eng", [(tokens(line.split("\t")[0]), tokens(line.split("\t")[1])) for line in lines])


def pronunciations() -> Task:
    """Letters to phonemes."""
    pairs = []
    for line in (SHARED_DATA / "cmudict-g2p" / "cmudict.dict").read_text().splitlines():
        word, _, phonemes = line.partition("#")[0].strip().partition(" ")
        pairs.append((" ".join(re.sub(r"\(\d\)$", "", word)), phonemes))
    return split("cmudict-g2p", pairs)


def error_rate(found: Sequence[str], true: Sequence[str]) -> float:
    """Insertions, deletions and changes that make the true phonemes of the found ones, for each true one."""
    wrong = 0
    for one, other in zip(found, true, strict=True):
        left, right = one.split(), other.split()
        row = list(range(len(right) + 1))
        for i, token in enumerate(left, 1):
            diagonal, row[0] = row[0], i
            for j, wanted in enumerate(right, 1):
                diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (token != wanted))
        wrong += row[-1]
    return wrong / sum(len(text.split()) for text in true)


def write(folder: Path, name: str, pairs: Sequence[tuple[str, str]]) -> list[Path]:
    """The two files of a part."""
    files = [folder / f"{name}.{side}" for side in ("src", "trg")]
    for side, file in enumerate(files):
        file.write_text("".join(f"{pair[side]}\n" for pair in pairs))
    return files


def harmonic(rates: Sequence[float]) -> float:
    """The rate over intervals of equal work; the first, in which a side warms up, is left out."""
    return statistics.harmonic_mean(rates[1:] or rates)


def measured(command: Sequence[str | Path], **environment: str) -> tuple[str, float, float]:
    """Output, seconds and CPU seconds of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout[-3000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, time.perf_counter() - started, cpu


def ours(task: Task, folder: Path, updates: int, prefix: Sequence[str] = ()) -> Result:
    """Train with ``local tokens`` and ``local train``, which ``prefix`` starts; translate with the model."""
    train, validation = write(folder, "train", task.train), write(folder, "dev", task.validation)
    texts.make(*train, folder / "made", validation=(validation[0], validation[1]), size=WORDS)
    given = {
        **dict.fromkeys(("rnn_num_hidden", "num_embed_source", "num_embed_target"), HIDDEN),
        "batch_size": BATCH,
        "learning_rate": RATE,
        "beam_size": BEAM,
        "max_num_batches": updates,
        "checkpoint_frequency_num_batches": updates,
    }
    log, seconds, cpu = measured(
        [
            *(*prefix, sys.executable, "-m", "local", "train", "seq2seq"),
            *("--train", folder / "made" / "train", "--validation", folder / "made" / "validation"),
            *("--channel", f"vocab={folder / 'made' / 'vocab'}", "--output", folder / "job"),
            *(f"{name}={value}" for name, value in given.items()),
            "--verbose",  # the lines with the speed
        ]
    )
    tokens = float(np.mean([len(target.split()) + 1 for _, target in task.train]))
    rates = [tokens * float(rate) for rate in re.findall(r"Speed: (\S+) samples/sec", log)]
    model = load(folder / "job" / "model")
    found = model.translator.translate([model.source.ids(source) for source, _ in task.test], BEAM)
    return Result(harmonic(rates), seconds, cpu, [model.target.text(hypothesis.tokens) for hypothesis in found])


JOEY = """
name: bench
joeynmt_version: "2.3.0"
model_dir: {folder}/joey
use_cuda: False
random_seed: 42
data:
    train: {folder}/train
    dev: {folder}/dev
    test: {folder}/test
    dataset_type: plain
    src: {{lang: src, level: word, lowercase: False, max_length: 100, voc_limit: {words}, voc_min_freq: 1}}
    trg: {{lang: trg, level: word, lowercase: False, max_length: 100, voc_limit: {words}, voc_min_freq: 1}}
testing: {{beam_size: {beam}, beam_alpha: 1.0, n_best: 1, batch_size: 64, batch_type: sentence, eval_metrics: [bleu],
          max_output_length: 60, sacrebleu_cfg: {{tokenize: none}}}}
training: {{optimizer: adam, learning_rate: {rate}, weight_decay: 0.0, clip_grad_val: 1.0, batch_size: {batch},
           batch_type: sentence, normalization: tokens, scheduling: exponential, decrease_factor: 1.0, epochs: 1000,
           updates: {updates}, validation_freq: {updates}, logging_freq: {every}, eval_metric: bleu,
           early_stopping_metric: ppl, overwrite: True, shuffle: True, print_valid_sents: [0], keep_best_ckpts: 1}}
model:
    initializer: xavier_uniform
    encoder: {{type: recurrent, rnn_type: lstm, embeddings: {{embedding_dim: {hidden}, scale: False}},
              hidden_size: {half}, bidirectional: True, dropout: 0.0, num_layers: 1}}
    decoder: {{type: recurrent, rnn_type: lstm, embeddings: {{embedding_dim: {hidden}, scale: False}},
              hidden_size: {hidden}, dropout: 0.0, hidden_dropout: 0.0, num_layers: 1, input_feeding: True,
              init_hidden: last, attention: bahdanau}}
"""


def joey(task: Task, folder: Path, updates: int, python: Path) -> Result:
    """Joey NMT on the same files."""
    write(folder, "test", task.test)
    config = folder / "joey.yaml"
    sizes = {"hidden": HIDDEN, "half": HIDDEN // 2, "batch": BATCH, "rate": RATE, "beam": BEAM, "words": WORDS}
    config.write_text(JOEY.format(folder=folder, updates=updates, every=EVERY, **sizes))
    command = [python, "-m", "joeynmt"]
    log, seconds, cpu = measured([*ONE_CORE, *command, "train", config, "--skip-test"], OMP_WAIT_POLICY="passive")
    rates = [float(rate) for rate in re.findall(r"Tokens per Sec:\s+(\d+)", log)]
    measured([*command, "test", config, "--output-path", folder / "joey.out"], OMP_WAIT_POLICY="passive")
    return Result(harmonic(rates), seconds, cpu, (folder / "joey.out.test").read_text().splitlines())


def torch_lstm(task: Task, folder: Path, seconds: float) -> Result:
    """The plain LSTM, for so many processor seconds of training, on the same files."""
    test, _ = write(folder, "test", task.test)
    program = Path(__file__).with_name("torch_lstm.py")
    sizes = ("--hidden", HIDDEN, "--words", WORDS, "--batch", BATCH, "--rate", RATE, "--beam", BEAM)
    given = (folder / "train.src", folder / "train.trg", *sizes, "--seconds", seconds, "--translate", test)
    python = python_of("torch", TORCH_REQUIREMENTS)
    log, wall, cpu = measured([*ONE_CORE, python, "-W", "ignore", program, *given])
    told, *found = log.splitlines()
    return Result(json.loads(told)["tokens_a_second"], wall, cpu, found)


class Served(NamedTuple):
    """How fast a server was."""

    first_ping: float
    p50: float
    p99: float
    sentences_a_second: float


def serve(model: Path, sources: Sequence[str]) -> Served:
    """Requests of one sentence, one after the other; then all in one."""
    with server(model) as (address, first_ping):
        seconds = []
        for source in sources[:200]:
            started = time.perf_counter()
            ask(address, [source])
            seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        ask(address, sources)
        rate = len(sources) / (time.perf_counter() - started)
    return Served(first_ping, float(np.percentile(seconds, 50)), float(np.percentile(seconds, 99)), rate)


@contextlib.contextmanager
def server(model: Path) -> Iterator[tuple[str, float]]:
    """A server of ``model``: its address, and the seconds from its start to the first answer to /ping."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, started = f"http://127.0.0.1:{port}", time.perf_counter()
    command = [sys.executable, "-m", "local", "serve", "--model", str(model), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/ping", timeout=2):
                break
            time.sleep(0.01)
        yield address, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def ask(address: str, sources: Sequence[str]) -> None:
    """One request."""
    body = json.dumps({"instances": [{"data": source} for source in sources]}).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert len(json.load(answer)["predictions"]) == len(sources)


def lines(quick: bool) -> Iterator[Line]:
    """400 updates on pronunciations and 600 on sentences, on one core, beside the plain LSTM for as long."""
    if quick or not (SHARED_DATA / "cmudict-g2p").is_dir():
        return
    for make, updates in ((pronunciations, 400), (sentences, 600)):
        task = make()
        true = [target for _, target in task.test]
        with tempfile.TemporaryDirectory() as name:
            mine = ours(task, Path(name), updates, ONE_CORE)
            theirs = torch_lstm(task, Path(name), mine.cpu_seconds)
        quality = [_quality(side.found, true, make is sentences) for side in (mine, theirs)]
        rates = mine.tokens_a_second, theirs.tokens_a_second
        what = f"seq2seq, {task.name}, {mine.cpu_seconds:.0f} s on one core"
        yield Line(
            what, rates[0], "tokens/s", "a plain LSTM in PyTorch", rates[1], rates[0] / rates[1], "", None, *quality
        )


def _quality(found: Sequence[str], true: Sequence[str], translated: bool) -> str:
    if translated:
        return f"BLEU {100 * bleu(found, true):.2f}"
    return f"phonemes wrong {100 * error_rate(found, true):.1f} %"


def main() -> None:
    """One line a side and task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--peer", choices=("torch", "joeynmt"), help="default: both")
    parser.add_argument("--joeynmt", type=Path, metavar="PYTHON")
    parser.add_argument("--task", choices=("sentences", "pronunciations"))
    options = parser.parse_args()
    if options.updates % EVERY or options.updates < 3 * EVERY:
        parser.error(f"--updates must be a multiple of {EVERY}, as Joey NMT wants it, and {3 * EVERY} at least")
    if not (SHARED_DATA / "cmudict-g2p").is_dir():
        print("seq2seq: the data sets are not beside this checkout")
        return
    print(f"{'':16} {'':9} {'tokens/s':>9} {'seconds':>8} {'CPU s':>7}  quality after {options.updates} updates")
    for make in (sentences, pronunciations):
        if options.task not in (None, make.__name__):
            continue
        task = make()
        true = [target for _, target in task.test]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sides = {"ours": ours(task, folder, options.updates, ONE_CORE)}
            if options.peer != "joeynmt":
                sides["PyTorch"] = torch_lstm(task, folder, sides["ours"].cpu_seconds)
            if options.peer != "torch":
                python = options.joeynmt or python_of("joeynmt", JOEY_REQUIREMENTS)
                sides["Joey NMT"] = joey(task, folder, options.updates, python)
            for side, result in sides.items():
                quality = _quality(result.found, true, make is sentences)
                print(
                    f"{task.name:16} {side:9} {result.tokens_a_second:9.0f} {result.seconds:8.1f} "
                    f"{result.cpu_seconds:7.1f}  {quality}"
                )
            served = serve(folder / "job" / "model", [source for source, _ in task.test])
            print(
                f"{task.name:16} serving   first /ping {served.first_ping:.2f} s, one sentence p50 "
                f"{1000 * served.p50:.1f} ms, p99 {1000 * served.p99:.1f} ms, "
                f"{served.sentences_a_second:.0f} sentences/s in one request"
            )


if __name__ == "__main__":
    main()
