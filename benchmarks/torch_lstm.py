"""A plain LSTM with attention in PyTorch, the peer of sequence to sequence: packed rows, batches of like lengths.

It knows nothing of this project, and runs in an environment that has PyTorch alone:

    python benchmarks/torch_lstm.py train.src train.trg --updates 600
    python benchmarks/torch_lstm.py train.src train.trg --seconds 270 --translate test.src --beam 5

The first line printed is JSON: target tokens a second, without the first third of the updates, in which libraries warm
up; and the number of updates. Translations follow, one a line. Seconds are those of the processor on a CPU, of which
one core is used, so that what else a machine does has no part in them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

PAD, UNKNOWN, END = 0, 1, 2
LONGEST = 100  # tokens of a translation


class Vocabulary:
    """The most frequent words of a text."""

    def __init__(self, lines: list[list[str]], size: int) -> None:
        counts = Counter(word for line in lines for word in line)
        self.words = ["", "<unk>", "", *(word for word, _ in counts.most_common(size - 3))]
        self.numbers = {word: number for number, word in enumerate(self.words) if number > END}

    def encode(self, line: list[str]) -> Tensor:
        """Numbers of a line's words and of its end."""
        return torch.tensor([*(self.numbers.get(word, UNKNOWN) for word in line), END])


class Network(nn.Module):
    """One bidirectional layer that reads, one that writes, attention by products (Luong et al., 2015)."""

    def __init__(self, words: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(words[0], hidden), nn.Embedding(words[1], hidden)
        self.encoder = nn.LSTM(hidden, hidden // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.mixed, self.out = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, words[1])

    def read(self, x: Tensor, lengths: Tensor) -> Tensor:
        """States of the encoder, shape (n, longest source, hidden)."""
        packed = pack_padded_sequence(self.source(x), lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.encoder(packed)[0], batch_first=True)[0]

    def write(
        self, x: Tensor, memory: Tensor, y: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Scores of the word after each of ``y``, shape (n, length, words), and the decoder's state."""
        states, state = self.decoder(self.target(y), state)
        scores = (states @ memory.transpose(1, 2)).masked_fill((x == PAD)[:, None], -1e9)
        read = torch.softmax(scores, -1) @ memory
        return self.out(torch.tanh(self.mixed(torch.cat([states, read], -1)))), state


def main() -> None:
    """Train, print the speed, translate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--updates", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--words", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--translate", type=Path)
    parser.add_argument("--beam", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    sides = [[line.split() for line in path.read_text().splitlines()] for path in (options.source, options.target)]
    source, target = (Vocabulary(side, options.words) for side in sides)
    pairs = [(source.encode(x), target.encode(y)) for x, y in zip(*sides, strict=True)]
    network = Network((len(source.words), len(target.words)), options.hidden).to(device)
    speed, updates = train(network, pairs, options, device)
    print(json.dumps({"tokens_a_second": speed, "updates": updates}))
    if options.translate:
        for line in options.translate.read_text().splitlines():
            found = translate(network, source.encode(line.split()).to(device), options.beam)
            print(" ".join(target.words[number] for number in found))


def train(
    network: Network, pairs: list[tuple[Tensor, Tensor]], options: argparse.Namespace, device: torch.device
) -> tuple[float, int]:
    """Adam on the mean loss of a batch's words, until the updates or the seconds are spent."""
    optimizer = torch.optim.Adam(network.parameters(), options.rate)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    marks = [(started, 0)]
    tokens = 0
    for x, lengths, y in itertools.islice(batches(pairs, options.batch), options.updates):
        x, y = x.to(device), y.to(device)
        before = torch.cat([torch.full_like(y[:, :1], END), y[:, :-1]], 1)
        scores, _ = network.write(x, network.read(x, lengths), before)
        loss = cross_entropy(scores.flatten(0, 1), y.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        tokens += int((y != PAD).sum())  # waits for a GPU
        marks.append((clock(), tokens))
        if marks[-1][0] - started > options.seconds:
            break
    warm = marks[len(marks) // 3]
    return (tokens - warm[1]) / (marks[-1][0] - warm[0]), len(marks) - 1


def batches(pairs: list[tuple[Tensor, Tensor]], size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Without end: sources and targets of like lengths, padded, and the sources' lengths."""
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]), len(pairs[i][1])))
    cut = [order[start : start + size] for start in range(0, len(order), size)]
    while True:
        random.shuffle(cut)
        for batch in cut:
            x, y = ([pairs[i][side] for i in batch] for side in (0, 1))
            lengths = torch.tensor([len(row) for row in x])
            yield pad_sequence(x, batch_first=True), lengths, pad_sequence(y, batch_first=True)


@torch.no_grad()
def translate(network: Network, source: Tensor, beam: int) -> list[int]:
    """The best of ``beam`` hypotheses by mean log probability of their words."""
    x = source[None]
    memory = network.read(x, torch.tensor([len(source)]))
    words = torch.full((1, 1), END, device=source.device)
    totals = torch.zeros(1, device=source.device)
    state: tuple[Tensor, Tensor] | None = None
    done: list[tuple[float, list[int]]] = []
    for length in range(1, LONGEST + 1):
        n = len(words)
        scores, state = network.write(x.expand(n, -1), memory.expand(n, -1, -1), words[:, -1:], state)
        every = totals[:, None] + torch.log_softmax(scores[:, -1], -1)
        totals, flat = every.flatten().topk(beam)
        rows, chosen = flat // every.shape[1], flat % every.shape[1]
        words = torch.cat([words[rows], chosen[:, None]], 1)
        state = (state[0][:, rows], state[1][:, rows])
        ended = chosen == END
        done += [
            (float(total) / length, row[1:-1].tolist()) for total, row in zip(totals[ended], words[ended], strict=True)
        ]
        words, totals = words[~ended], totals[~ended]
        state = (state[0][:, ~ended].contiguous(), state[1][:, ~ended].contiguous())
        if len(done) >= beam or not len(words):
            break
    done = done or [(0.0, words[0, 1:].tolist())]
    return max(done)[1]


if __name__ == "__main__":
    main()
