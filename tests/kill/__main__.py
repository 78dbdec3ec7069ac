"""Kill jobs at random, start them again, and compare what they end with: ``python -m tests.kill --kills 200 --seed 7``.

Every job has a folder for checkpoints and runs in a process of its own, which SIGKILL (of every few, SIGTERM) ends at a
moment of its time from start to end. It is started again until it comes to its end, often several times in a row.
Counted are models that are not whole after a kill, and models that differ in any bit from that of a job that was left
alone. The last line of each algorithm says what to run to see the same again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from algorithms import registry
from algorithms.errors import ModelError
from tests import resuming
from tests.opt_ml import ROOT, OptMl

MOST_STARTS = 12
LONGER = {"kmeans": {"epochs": "40"}, "factorization-machines": {"epochs": "40"}, "xgboost": {"num_round": "600"}}
BEGUN = b"is a worker", b"Single node training"
"""In the line of the log after which training begins."""
WENT_ON = b"Training goes on after", b"Resuming from iteration"
EARLY = 0.2
"""Share of the kills that come at any time from the start of the process, most of which it spends in importing."""
TERMINATED = 0.25
"""Share of the kills that are SIGTERM."""


def start(name: str, opt_ml: OptMl) -> subprocess.Popen[bytes]:
    """The running job."""
    variables = {**os.environ, "SAGEMAKER_BASE_DIR": str(opt_ml.paths.base), "ALGORITHM": name, "OMP_NUM_THREADS": "1"}
    log = (opt_ml.paths.base / "log").open("ab")
    command = [sys.executable, "-m", "tests.kill.eager"]
    with log:
        return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT)


def wait_until_begun(process: subprocess.Popen[bytes], opt_ml: OptMl, after: int = 0) -> None:
    """Until the log has, beyond its first bytes, the line after which training begins, or the job is over."""
    while process.poll() is None:
        with (opt_ml.paths.base / "log").open("rb") as log:
            log.seek(after)
            new = log.read()
        if any(line in new for line in BEGUN):
            return
        time.sleep(0.01)


def is_half(name: str, opt_ml: OptMl) -> bool:
    """Whether the model folder shows files that are no whole model."""
    if not any(not file.name.startswith(".") for file in opt_ml.paths.model.iterdir()):
        return False
    try:
        registry.find(name).load(opt_ml.paths.model)
    except ModelError:
        return True
    return False


def interrupted(name: str, opt_ml: OptMl, seconds: float, moments: random.Random, counts: Counter[str]) -> None:
    """Run the job to its end, through kills."""
    for attempt in range(MOST_STARTS + 1):
        log = opt_ml.paths.base / "log"
        written = log.stat().st_size if log.exists() else 0
        process = start(name, opt_ml)
        if moments.random() > EARLY:
            wait_until_begun(process, opt_ml, written)
        try:
            # The last start is left alone; the others may come to their end before they are killed, too.
            process.wait(None if attempt == MOST_STARTS else moments.uniform(0, 1.1 * seconds))
            stopped = False
        except subprocess.TimeoutExpired:
            number = signal.SIGTERM if moments.random() < TERMINATED else signal.SIGKILL
            process.send_signal(number)
            asked = time.monotonic()
            process.wait(120)
            counts[number.name] += 1
            counts["slow to stop"] += time.monotonic() - asked > 5 + seconds
            stopped = True
        counts["half"] += is_half(name, opt_ml)
        if opt_ml.paths.failure.exists():
            counts["failed"] += 1
            print((opt_ml.paths.base / "log").read_text()[-3000:])
            return
        if not stopped:
            return
        shutil.rmtree(opt_ml.paths.model)  # another machine: all that is left is in the checkpoints
        opt_ml.paths.model.mkdir()


def try_algorithm(name: str, kills: int, until: float, seed: int) -> Counter[str]:
    """So many kills of jobs of one algorithm, as far as there is time."""
    counts: Counter[str] = Counter()
    moments = random.Random(f"{seed} {name}")
    configuration = registry.find(name).configurations[0].name
    with tempfile.TemporaryDirectory() as folder:
        more = resuming.MORE[name] | LONGER.get(name, {})
        plain = resuming.job(Path(folder, "plain"), name, configuration, more)
        process = start(name, plain)
        wait_until_begun(process, plain)
        began = time.monotonic()
        assert process.wait() == 0, (plain.paths.base / "log").read_text()
        seconds, wanted = time.monotonic() - began, resuming.artifact(plain)
        while counts["SIGKILL"] + counts["SIGTERM"] < kills and time.monotonic() < until:
            base = Path(folder, str(counts["jobs"]))
            opt_ml = resuming.job(base, name, configuration, more)
            interrupted(name, opt_ml, seconds, moments, counts)
            counts["jobs"] += 1
            counts["unequal"] += resuming.artifact(opt_ml) != wanted
            counts["went on"] += any(line in (base / "log").read_bytes() for line in WENT_ON)
            shutil.rmtree(base)
    return counts


def main() -> int:
    """Whether any job went wrong, as an exit code."""
    parser = argparse.ArgumentParser(description="Kill jobs at random and compare what they end with.")
    parser.add_argument("--kills", type=int, default=20, help="for each algorithm")
    parser.add_argument("--minutes", type=float, default=10, help="for all of them together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--algorithm", action="append", choices=sorted(resuming.MORE))
    options = parser.parse_args()
    names = options.algorithm or list(resuming.MORE)
    total: Counter[str] = Counter()
    began = time.monotonic()
    for number, name in enumerate(names):
        until = began + 60 * options.minutes * (number + 1) / len(names)
        counts = try_algorithm(name, options.kills, until, options.seed)
        total += counts
        told = ", ".join(f"{counts[what]} {what}" for what in ("jobs", "SIGKILL", "SIGTERM", "went on"))
        wrong = ", ".join(f"{counts[what]} {what}" for what in ("half", "unequal", "failed", "slow to stop"))
        print(f"{name}: {told}; {wrong} (--seed {options.seed} --algorithm {name})", flush=True)
    return int(any(total[what] for what in ("half", "unequal", "failed")))


if __name__ == "__main__":
    sys.exit(main())
