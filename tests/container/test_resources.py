import os

import pytest

from container.resources import processes

AVAILABLE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", AVAILABLE),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("9900000 100000", AVAILABLE),
        ("", AVAILABLE),
    ],
)
def test_a_containers_limit_counts(tmp_path, limit, expected):
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert processes(tmp_path / "cpu.max") == expected


def test_without_a_limit_all_cpus_count(tmp_path):
    assert processes(tmp_path / "absent") == AVAILABLE
