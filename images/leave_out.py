"""Delete what the image never uses: ``python images/leave_out.py /opt/venv /opt/own``.

The first is the environment of other people's packages, the second has this project's.

Whole files are left out, each for a reason given below; none is changed. What stays of scipy is not a list to maintain:
it is what importing all of the project loads.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

LEFT_OUT = {
    "the packages' own tests": ("*/**/tests",),
    "for compiling against a package, not for running it": (
        "*/include",
        "numpy/_core/include",
        "numpy/_core/lib",
        "numpy/random/lib",
        "pyarrow/src",
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


# Imports all that the image's algorithms can import, and prints which parts of scipy came with it.
IMPORT_ALL = """
import importlib.util, pkgutil, sys
for name in ("recordio", "algorithms", "container"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if importlib.util.find_spec(error.name.partition(".")[0]):
                    raise  # not an extra of another image: something that should not have been left out
                print(f"{module.name} is not for this image: {error}", file=sys.stderr)
print(*{name.split(".")[1] for name in sys.modules if name.startswith("scipy.")})
"""


def main(environment: Path, own: Path) -> None:
    """Leave out of ``environment`` all of the above, and the parts of scipy that no import of the project loads."""
    (packages,) = environment.glob("lib/python*/site-packages")
    for reason, patterns in LEFT_OUT.items():
        leave_out(reason, [path for pattern in patterns for path in packages.glob(pattern)])
    python = [environment / "bin" / "python", "-B", "-c", IMPORT_ALL]
    loaded = subprocess.run(python, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    leave_out("the user's command, whose package local/ is not in images", [own / "bin" / "oba"])
    parts = [path.parent for path in (packages / "scipy").glob("*/__init__.py")]
    leave_out("parts of scipy that nothing here imports", [path for path in parts if path.name not in loaded])


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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
