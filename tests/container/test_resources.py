"""Limits of control groups, as Docker, Kubernetes and systemd set them, in both versions."""

import os
import subprocess
import sys

import pytest

from container.resources import memory, processes

AVAILABLE = len(os.sched_getaffinity(0))
INSTALLED = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
VERSION_2 = "0::/kubepods/pod1/main"
VERSION_1 = "4:memory:/docker/1\n1:cpu,cpuacct:/docker/1"


def limits(folder, files, membership=""):
    """CPUs and bytes under control groups with ``files``, for a process of the groups in ``membership``."""
    for name, content in files.items():
        (folder / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "groups" / name).write_text(content + "\n")
    (folder / "membership").write_text(membership)
    where = (folder / "groups", folder / "membership")
    return processes(*where), memory(*where)


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
    assert limits(tmp_path, {"cpu.max": limit}) == (expected, INSTALLED)


def test_without_a_limit_all_cpus_count(tmp_path):
    assert (processes(tmp_path, tmp_path / "absent"), memory(tmp_path, tmp_path / "absent")) == (AVAILABLE, INSTALLED)


@pytest.mark.parametrize(
    ("files", "membership"),
    [
        pytest.param({"cpu.max": "90000 100000", "memory.max": str(64 * MIB)}, "0::/", id="2, a container's own"),
        pytest.param(
            {"kubepods/pod1/cpu.max": "10000 100000", "kubepods/pod1/memory.max": str(64 * MIB),
             "kubepods/pod1/main/cpu.max": "max 100000", "kubepods/pod1/main/memory.max": "max"},
            VERSION_2, id="2, a group above",
        ),
        pytest.param(
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": str(64 * MIB)},
            VERSION_1, id="1, a container's own",
        ),
        pytest.param(
            {"cpu/docker/1/cpu.cfs_quota_us": "50000", "cpu/docker/1/cpu.cfs_period_us": "100000",
             "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": str(0x7FFFFFFFFFFFF000), "memory/docker/1/memory.limit_in_bytes":
             str(64 * MIB)},
            VERSION_1, id="1, seen from the host",
        ),
        pytest.param(
            {"unified/kubepods/pod1/main/cpu.max": "100000 100000", "memory/memory.limit_in_bytes": str(64 * MIB)},
            f"4:memory:/\n{VERSION_2}", id="both at once",
        ),
    ],
)  # fmt: skip
def test_each_form_of_limit_counts(tmp_path, files, membership):
    assert limits(tmp_path, files, membership) == (1, 64 * MIB)


def test_none_is_a_limit_in_version_1_too(tmp_path):
    files = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": str(0x7FFFFFFFFFFFF000),
    }
    assert limits(tmp_path, files, VERSION_1) == (AVAILABLE, INSTALLED)


def test_a_training_job_has_no_more_threads_than_its_limit(tmp_path):
    """BLAS itself is asked, in a process whose ``train`` finds a limit of one CPU; what the user says goes before."""
    program = (
        "import container.resources as r, container.__main__ as m, os, pathlib\n"
        "r.processes = lambda: 1\nos.sched_getaffinity = lambda pid: set(range(8))\n"
        "r.limit_threads()\n"
        "import numpy, threadpoolctl\n"
        "print({lib['num_threads'] for lib in threadpoolctl.threadpool_info()})"
    )
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", program], env=free, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"


@pytest.mark.parametrize(("given", "spins"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_that_wait_for_each_other_sleep_soon(given, spins):
    """XGBoost's OpenMP itself is asked: beside busy processes its default makes a job many times slower."""
    program = "import container.resources as r; r.sleep_soon()\nimport xgboost"
    without = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP_"))}
    environment = {**without, "OMP_DISPLAY_ENV": "VERBOSE", **given}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
