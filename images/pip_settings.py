"""Write pip's settings on this machine into a folder, for a build elsewhere: ``pip_settings.py FOLDER``.

``pip.conf`` holds what says where packages come from, as far as it is an address that the build can reach too, and
``ca.pem`` the authority to trust, if one is set. A machine with pip's defaults gets no file at all.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

CERTIFICATE_INSIDE = "/run/secrets/ca.pem"
ADDRESSES = ("index-url", "extra-index-url", "trusted-host", "proxy")


def main(folder: Path) -> None:
    """Write the two files into ``folder``, where there is something to write."""
    settings = current()
    lines = [f"{name} = {value}" for name in ADDRESSES if (value := remote(settings.get(name, "")))]
    if certificate := settings.get("cert"):
        shutil.copyfile(certificate, folder / "ca.pem")
        lines.append(f"cert = {CERTIFICATE_INSIDE}")
    if lines:
        (folder / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))


def current() -> dict[str, str]:
    """pip's settings by name, those of the environment before those of files."""
    printed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    pairs = [line.split("=", 1) for line in printed.splitlines()]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {key.rpartition(".")[2]: ast.literal_eval(value) for key, value in ordered}


def remote(value: str) -> str:
    """The words of ``value`` that are not paths of this machine."""
    return " ".join(word for word in value.split() if not word.startswith(("/", "file:")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
