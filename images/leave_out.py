"""Delete from a virtual environment what the image never uses: ``python images/leave_out.py /opt/venv``.

Whole files are left out, each for a reason given below; none is changed. What stays of scipy is not a list to maintain:
it is followed from the imports of the project's own packages.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = ("recordio", "algorithms", "container")

LEFT_OUT = {
    "the packages' own tests": ("*/**/tests", "scipy/_lib/array_api_compat/tests"),
    "for compiling against a package, not for running it": (
        "*/include",
        "numpy/_core/include",
        "numpy/_core/lib",
        "numpy/random/lib",
        "numpy/f2py",
        "numpy/distutils",
        "pyarrow/src",
        "**/*.pxd",
        "**/*.pyx",
        "**/*.pxi",
        "**/*.h",
        "**/*.hpp",
        "**/*.a",
    ),
    "type stubs": ("**/*.pyi",),
    "Arrow beyond CSV and Parquet on local streams: RPC, object stores, other formats": (
        "pyarrow/libarrow_flight.so.*",
        "pyarrow/libarrow_python_flight.so*",
        "pyarrow/_flight.*",
        "pyarrow/libarrow_s3.so.*",
        "pyarrow/_s3fs.*",
        "pyarrow/_gcsfs.*",
        "pyarrow/_azurefs.*",
        "pyarrow/_hdfs.*",
        "pyarrow/_orc.*",
        "pyarrow/_dataset_orc.*",
        "pyarrow/_substrait.*",
        "pyarrow/_pyarrow_cpp_tests.*",
    ),
    "second and third copies of a library that is loaded by its versioned name": (
        "pyarrow/libarrow_python.so",
        "pyarrow/libarrow_python.so.*.*.*",
        "pyarrow/libarrow_python_parquet_encryption.so",
        "pyarrow/libarrow_python_parquet_encryption.so.*.*.*",
    ),
}


def main(environment: Path) -> None:
    """Leave out of ``environment`` all of the above, and the parts of scipy that nothing here reaches."""
    (packages,) = environment.glob("lib/python*/site-packages")
    for reason, patterns in LEFT_OUT.items():
        report(reason, [path for pattern in patterns for path in packages.glob(pattern)])
    kept = reachable(packages, "scipy")
    parts = {path for path in (packages / "scipy").iterdir() if (path / "__init__.py").exists()}
    report("parts of scipy that nothing here imports", [path for path in parts if path.name not in kept])


def report(reason: str, paths: list[Path]) -> None:
    """Delete ``paths`` and say what that saves."""
    size = sum(sum(file.stat().st_size for file in files(path)) for path in paths)
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print(f"{size / 1e6:6.1f} MB left out: {reason}")  # noqa: T201 - a command's output


def files(path: Path) -> Iterator[Path]:
    """The file itself, or every file below the folder."""
    return (file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def reachable(packages: Path, package: str) -> set[str]:
    """The parts of ``package`` that the project can come to import, directly or through other parts."""
    found: set[str] = set()
    waiting = {name for folder in PROJECT for name in imported(packages / folder, package)}
    waiting |= {name for file in (packages / package).glob("*.py") for name in imported(file, package)}
    waiting.add("_lib")
    while waiting:
        name = waiting.pop()
        if name not in found and (packages / package / name).is_dir():
            found.add(name)
            waiting |= imported(packages / package / name, package)
    return found


def imported(path: Path, package: str) -> set[str]:
    """The parts of ``package`` named by the imports below ``path``: of Python by syntax, of compiled modules by the
    module names among their strings, which may be too many but never too few."""
    names: set[str] = set()
    for file in files(path):
        if file.suffix == ".py":
            names |= {module.split(".")[1] for module in modules(file) if module.startswith(f"{package}.")}
        elif ".so" in file.suffixes:
            found = re.findall(rb"\b%s\.(\w+)" % package.encode(), file.read_bytes())
            names |= {name.decode(errors="replace") for name in found}
    return names


def modules(file: Path) -> Iterator[str]:
    """The full names of all modules that a Python file's statements import, wherever they stand."""
    parents = file.with_suffix("").parts
    parents = parents[parents.index("site-packages") + 1 :]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*parents[: -node.level], *filter(None, [node.module])] if node.level else [str(node.module)]
            yield from (".".join([*base, alias.name]) for alias in node.names)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
