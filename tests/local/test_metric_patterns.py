"""Metrics by users' patterns: their values, and patterns that would hold everything up."""

import threading
import time

import pytest

from local.metric_patterns import LINE_SECONDS, MetricPattern


@pytest.mark.parametrize(
    ("pattern", "line", "value"),
    [
        (r"loss=([0-9.e+-]+)", "epoch 3 loss=1.5e-3", 0.0015),
        (r"loss=(\S+)", "loss=nan", None),
        (r"loss=(\S+)", "loss=none", None),
        (r"loss=(\S+)|gain=(\S+)", "gain=3", None),
        (r"loss=(\S+)", "x" * 20_000 + "loss=1", None),
    ],
)
def test_the_value_is_the_first_group_where_it_is_a_finite_number(pattern, line, value):
    assert MetricPattern("loss", pattern).value(line) == value


@pytest.mark.parametrize(
    ("pattern", "told"), [("(((", "cannot be used"), (".*", "has no group"), ("(?P<a", "cannot be")]
)
def test_what_is_no_pattern_is_refused_by_the_name_of_its_metric(pattern, told):
    with pytest.raises(ValueError, match=f"the Regex of loss {told}"):
        MetricPattern("loss", pattern)


@pytest.mark.parametrize("pattern", [r"((a+)+)+$", r"(a|aa)+$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(a?){30}a{30}(x)"])
def test_a_pattern_that_backtracks_for_ever_is_given_up_and_holds_no_thread_up(pattern):
    gaps, ended = [], threading.Event()

    def watch():
        last = time.monotonic()
        while not ended.wait(0.005):
            last, before = time.monotonic(), last
            gaps.append(last - before)

    line, slow, begun = "a" * 10_000 + "b", MetricPattern("loss", pattern), time.monotonic()
    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(TimeoutError, match="The Regex of the metric loss took more than"):
        slow.value(line)
    ended.set()
    assert slow.value(line) is None
    assert time.monotonic() - begun < 60
    assert len(gaps) > LINE_SECONDS / 0.1  # Python's own re would let no other thread run


def test_a_value_ends_where_the_next_metric_begins():
    pattern = MetricPattern("validation:auc", r".*\[[0-9]+\].*#011validation-auc:(\S+)")
    assert pattern.value("[0]#011validation-auc:0.75#011validation-logloss:0.5") == 0.75
