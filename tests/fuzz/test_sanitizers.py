"""The C code: no warning, and nothing that the address and undefined-behaviour sanitizers see over fuzzed input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.fuzz.engine import ROOT, hunt
from tests.fuzz.test_fuzz import SECONDS, SEED

SOURCES = {
    "recordio._text": "recordio/_text.c",
    "recordio._kernel": "recordio/_kernel.c",
    "recordio._sequences": "recordio/_sequences.c",
    "algorithms.factorization_machines._kernel": "algorithms/factorization_machines/_kernel.c",
    "algorithms.lda._kernel": "algorithms/lda/_kernel.c",
    "algorithms.common._keeping": "algorithms/common/_keeping.c",
    "algorithms.xgb._walk": "algorithms/xgb/_walk.c",
}
STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-I{sysconfig.get_path('include')}"]
CHECKED = ["-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
TARGETS = (
    *("csv", "csv-space", "libsvm", "json", "json-lines", "recordio", "recordio-writer", "sequences"),
    *("factorization-machines", "lda", "local-steps", "walk"),
)


def compiler() -> str:
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("there is no gcc here")
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_no_warnings(name: str, tmp_path: Path) -> None:
    built = subprocess.run(
        [compiler(), *STRICT, "-o", tmp_path / "out.so", ROOT / SOURCES[name]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder of extensions with sanitizers in them, and the environment that they need."""
    folder = tmp_path_factory.mktemp("sanitized")
    found = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    library = Path(found.stdout.strip())
    if not library.is_absolute():
        pytest.skip("this gcc has no address sanitizer (libasan.so)")
    for name, source in SOURCES.items():
        subprocess.run(
            [compiler(), *STRICT, *CHECKED, "-o", folder / f"{name}.so", ROOT / source], check=True, capture_output=True
        )
    options = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    env = {**os.environ, **options, "LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "OMP_NUM_THREADS": "1"}
    tried = subprocess.run([sys.executable, "-c", "import numpy"], env=env, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"Python does not run under the address sanitizer here: {tried.stderr[-200:]}")
    return folder, env


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_read_or_written_out_of_bounds(name: str, sanitized: tuple[Path, dict[str, str]]) -> None:
    folder, env = sanitized
    said = hunt(name, SEED, SECONDS, env=env, arguments=["--extensions", str(folder)])
    assert said.endswith(" cases")


def test_the_sanitizer_sees_what_is_out_of_bounds(sanitized: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """A loop over digits without the newline after them, which the module checks for, would be seen."""
    folder, env = sanitized
    source = tmp_path / "_text.c"
    text = (ROOT / "recordio/_text.c").read_text()
    assert text.count("stop[-1] == '\\n'") == 2
    source.write_text(text.replace("stop[-1] == '\\n'", "stop[-1] != 0"))
    shutil.copy(ROOT / "recordio/_float32.h", tmp_path)
    subprocess.run([compiler(), *STRICT, *CHECKED, "-o", tmp_path / "recordio._text.so", source], check=True)
    code = (
        "import sys; from pathlib import Path; from tests.fuzz.targets import _extension; import numpy as np\n"
        "text = _extension(Path(sys.argv[1]), 'recordio._text'); text.csv(np.full(4000, 49, 'u1'), np.zeros(9, 'f4'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
