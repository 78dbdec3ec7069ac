"""Two folders that become two layers of an image: other people's packages, and this project's.

    python images/layers.py join /opt/venv /opt/own     the environment also imports what lies in the other folder
    python images/layers.py settle /opt/venv /opt/own   the same files have the same bytes and times in each build

Once settled, what did not change is the same layer in the next build, which a registry has and nobody sends again.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

EPOCH = 315_532_800
"""1 January 1980, the earliest date that ZIP files can hold. Seconds since 1970."""


def join(environment: Path, own: Path) -> None:
    """Put ``own``'s packages on the import path of ``environment``."""
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "own.pth").write_text(f"{own / packages.relative_to(environment)}\n")


def settle(*folders: Path) -> None:
    """Compile what Python finds there, and give all the same time.

    The bytecode holds no time of its source and is not compared with it on import: nothing changes in an image.
    """
    for folder in folders:
        if not compileall.compile_dir(
            folder, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, workers=os.cpu_count() or 1
        ):
            print(f"some files of {folder} are not for this Python; they stay uncompiled", file=sys.stderr)
    subprocess.run(["find", *folders, "-exec", "touch", "--no-dereference", f"--date=@{EPOCH}", "{}", "+"], check=True)


if __name__ == "__main__":
    what, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    if what == "join":
        join(*paths)
    else:
        settle(*paths)
