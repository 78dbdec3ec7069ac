"""The lines of a job on a user's machine."""

import io

import pytest

from algorithms import registry
from local.parameters import Loudness
from local.progress import Console, ProgressBar, is_for_people

LOG = [
    "[11/28/2026 01:53:01 INFO 140309879241600] Final configuration: {}\n",
    "Process 12062 is a worker.\n",
    '#metrics {"Metrics": {}}\n\n',
    "[11/28/2026 01:53:01 WARNING 140309879241600] Fewer rows than asked for\n",
    "[2026-11-28:01:53:01:INFO] Determined delimiter of CSV input is ','\n",
    "[0]\ttrain-rmse:0.5\tvalidation-rmse:0.75\n",
    "[11]\ttrain-rmse:0.25\tvalidation-rmse:0.625\n",
    "[11/28/2026 01:53:01 INFO 140309879241600] Epoch[0] Batch [20]\tSpeed: 1.000 samples/sec\taccuracy=0.5\n",
    "[2026-11-28:01:53:01:ERROR] Customer Error: no rows\n",
]


def written(loudness):
    terminal, errors = io.StringIO(), io.StringIO()
    console = Console(terminal, errors, loudness, registry.find("xgboost").metrics)
    for text in LOG:
        console.write(text)
    console.close()
    return terminal.getvalue(), errors.getvalue(), console.scores()


@pytest.mark.parametrize(
    ("loudness", "expected"),
    [
        (Loudness.QUIET, "Warning: Fewer rows than asked for\n"),
        (
            Loudness.NORMAL,
            "Warning: Fewer rows than asked for\nDetermined delimiter of CSV input is ','\n"
            "[0]\ttrain-rmse:0.5\tvalidation-rmse:0.75\n",
        ),
        (Loudness.VERBOSE, "".join(LOG[:-1])),
    ],
)
def test_lines_by_loudness_errors_apart_and_scores_of_all_lines(loudness, expected):
    assert written(loudness) == (expected, "Error: no rows\n", [("validation:rmse", 0.625)])


def test_the_number_of_lines_grows_with_the_digits_of_the_number_of_rounds():
    shown = [is_for_people(f"[{number}]\ttrain-rmse:1") for number in range(10_000)]
    assert sum(shown) == 1 + 3 * 4
    assert is_for_people("#quality_metric: host=algo-1, test msd <loss>=1")


def test_the_bar_stays_at_the_foot_while_log_lines_scroll():
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    console = Console(terminal, io.StringIO(), Loudness.NORMAL, ())
    console.rows(1234)
    console.steps(1, 4)
    console.write("a line\n")
    console.flush()
    drawn = terminal.getvalue().split("\r\x1b[K")
    assert drawn[-3].startswith("[######..................] 1 of 4 epochs, 1,234 rows, ")
    assert drawn[-2] == "a line\n"
    assert drawn[-1].startswith("[######..................] 1 of 4 epochs, 1,234 rows, ")
    console.close()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_rounds_without_an_end_are_counted():
    bar = ProgressBar(io.StringIO())
    bar.steps(7, None)
    assert bar.line().startswith("round 7, ")


def test_every_metric_of_a_round_is_a_score():
    console = Console(io.StringIO(), io.StringIO(), Loudness.NORMAL, registry.find("xgboost").metrics)
    console.write("[3]\ttrain-auc:0.9\ttrain-logloss:0.2\tvalidation-auc:0.8\tvalidation-logloss:0.3\n")
    assert sorted(console.scores()) == [("validation:auc", 0.8), ("validation:logloss", 0.3)]
