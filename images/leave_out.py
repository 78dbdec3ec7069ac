"""Delete what the image never uses: ``python images/leave_out.py /opt/venv /opt/own ALGORITHM PURPOSE``.

The first is the environment of other people's packages, the second has this project's.

Whole files are left out, each for a reason given below; none is changed. What stays of scipy is not a list to maintain:
it is what importing all of the project loads; where the image is to serve one algorithm's models, all but the others.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from algorithms.registry import ALGORITHMS

LEFT_OUT = {
    "the packages' own tests, and what is compiled for them": (
        "*/**/tests",
        "*/**/_*_tests.*.so",
        "numpy/_core/_simd.*.so",
        "scipy/_lib/_test_*.so",
        "scipy/special/_test_internal.*.so",
    ),
    "for compiling against a package, or describing it, not for running it": (
        "*/include",
        "numpy/_core/include",
        "numpy/_core/lib",
        "numpy/random/lib",
        "numpy/distutils",
        "pyarrow/src",
        "scipy/special/cython_special.*.so",
        "**/*.cc",
        "**/*.proto",
        "**/*.pxd",
        "**/*.pyx",
        "**/*.pxi",
        "**/*.h",
        "**/*.hpp",
        "**/*.a",
    ),
    "type stubs": ("**/*.pyi",),
    "Arrow beyond Parquet on local streams: RPC, object stores, other formats": (
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
    "a parser of C++ that TensorFlow is built with": ("clang",),
    "onnxruntime beyond running a graph: tools that rewrite models, and the library again, for plugins in C": (
        "onnxruntime/quantization",
        "onnxruntime/tools",
        "onnxruntime/transformers",
        "onnxruntime/capi/libonnxruntime.so*",
    ),
    "Pillow beyond the kinds of images that are opened: AVIF, fonts, profiles of colours, windows": (
        "PIL/_avif.*",
        "PIL/_imagingcms.*",
        "PIL/_imagingft.*",
        "PIL/_imagingtk.*",
        "pillow.libs/libavif-*",
        "pillow.libs/libbrotli*",
        "pillow.libs/libfreetype-*",
        "pillow.libs/libharfbuzz-*",
        "pillow.libs/liblcms2-*",
    ),
    "ONNX beyond stating a graph: cases for those who run it, and the reference of its operators": (
        "onnx/backend",
        "onnx/fuzz",
        "onnx/reference",
    ),
    "second and third copies of a library that is loaded by its versioned name": (
        "pyarrow/libarrow_python.so",
        "pyarrow/libarrow_python.so.*.*.*",
        "pyarrow/libarrow_python_parquet_encryption.so",
        "pyarrow/libarrow_python_parquet_encryption.so.*.*.*",
    ),
}


# Imports all of the project but the packages that are named, and prints what of scipy was loaded: its parts, and its
# libraries (of those that NumPy brings too, NumPy's are).
IMPORT_ALL = """
import importlib.util, pathlib, pkgutil, sys
def import_all(name):
    if name in sys.argv[1:] or name.endswith("__main__"):
        return
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if importlib.util.find_spec(error.name.partition(".")[0]):
            raise  # not an extra of another image: something that should not have been left out
        print(f"{name} is not for this image: {error}", file=sys.stderr)
        return
    for inner in pkgutil.iter_modules(getattr(module, "__path__", ()), name + "."):
        import_all(inner.name)
for name in ("recordio", "algorithms", "container"):
    import_all(name)
print(*{name.split(".")[1] for name in sys.modules if name.startswith("scipy.")})
mapped = {line.split()[-1] for line in pathlib.Path("/proc/self/maps").read_text().splitlines()}
print(*{pathlib.Path(file).name for file in mapped if "/scipy.libs/" in file})
"""


def main(environment: Path, own: Path, algorithm: str, purpose: str) -> None:
    """Leave out of ``environment`` all of the above, and what of scipy no import of the project loads."""
    (packages,) = environment.glob("lib/python*/site-packages")
    for reason, patterns in LEFT_OUT.items():
        leave_out(reason, [path for pattern in patterns for path in packages.glob(pattern)])
    python: list[str | Path] = [environment / "bin" / "python", "-B", "-c", IMPORT_ALL, *others(algorithm, purpose)]
    told = subprocess.run(python, check=True, stdout=subprocess.PIPE, text=True).stdout
    parts, libraries = (set(line.split()) for line in told.splitlines())
    leave_out("the user's command, whose package local/ is not in images", [own / "bin" / "oba"])
    unused = [path.parent for path in (packages / "scipy").glob("*/__init__.py") if path.parent.name not in parts]
    unused += [path for path in packages.glob("scipy.libs/*") if path.name not in libraries]
    leave_out("what of scipy nothing here imports", unused)


def others(algorithm: str, purpose: str) -> list[str]:
    """The packages of the algorithms that an image for ``purpose`` is not for, and what algorithms share: of that, the
    one that is left imports what it needs."""
    if purpose != "serve" or algorithm == "all":
        return []
    packages = {name: entry.location.partition(":")[0] for name, entry in ALGORITHMS.items()}
    return [*(package for name, package in packages.items() if name != algorithm), "algorithms.common"]


def leave_out(reason: str, paths: list[Path]) -> None:
    """Delete ``paths`` and say what that saves."""
    size = 0
    for path in paths:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        size += sum(file.stat().st_size for file in files)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    print(f"{size / 1e6:6.1f} MB left out: {reason}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
