"""Completion in real shells: words are typed at a terminal, and the tab key is pressed."""

import os
import pty
import re
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELLS = {
    "bash": (["--norc", "--noprofile"], ['eval "$(_OBA_COMPLETE=bash_source oba)"']),
    "zsh": (["-f"], ["autoload -Uz compinit; compinit -u -D", 'eval "$(_OBA_COMPLETE=zsh_source oba)"']),
    "fish": (["--no-config"], ["_OBA_COMPLETE=fish_source oba | source"]),
}
TYPED = {
    "oba tr": "train ",
    "oba train kmeans init_method=ran": "init_method=random ",
    "oba train kmeans half_li": "half_life_time_size=",
    "oba train xgboost objective=reg:squaredl": "objective=reg:squaredlogerror ",
    "oba train kmeans k=3 --train my-da": "my-data.csv ",
}
_PATIENCE = 30


class Terminal:
    def __init__(self, shell, arguments, folder):
        self.seen = ""
        self.child, self.screen = pty.fork()
        if not self.child:
            os.chdir(folder)
            path = f"{folder}{os.pathsep}{os.environ['PATH']}"
            settings = {"PATH": path, "HOME": str(folder), "TERM": "dumb", "PS1": "$ ", "PYTHONPATH": str(ROOT)}
            os.execvpe(shell, [shell, *arguments], os.environ | settings)

    def shows(self, text):
        """Whether the line shows the text before long, commands to the terminal aside."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if select.select([self.screen], [], [], 0.1)[0]:
                self.seen += os.read(self.screen, 1 << 16).decode(errors="replace")
            if text in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|\r", "", self.seen):
                return True
        return False

    def begins_anew(self):
        """Leaves an empty line."""
        self.types("\x15")
        self.seen = ""

    def types(self, text):
        os.write(self.screen, text.encode())

    def close(self):
        os.close(self.screen)
        os.waitpid(self.child, 0)


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_what_is_typed(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    program = tmp_path / "oba"
    program.write_text(f"#!{sys.executable}\nfrom local.__main__ import command\nraise SystemExit(command())\n")
    program.chmod(0o755)
    (tmp_path / "my-data.csv").touch()
    arguments, before = SHELLS[shell]
    terminal = Terminal(shell, arguments, tmp_path)
    try:
        for line in [*before, "echo ready$((1 + 1))" if shell != "fish" else "echo ready(math 1 + 1)"]:
            terminal.types(f"{line}\n")
        assert terminal.shows("ready2")
        for typed, expected in TYPED.items():
            terminal.begins_anew()
            terminal.types(f"{typed}\t")
            assert terminal.shows(expected), typed
            if expected.endswith("="):
                terminal.types("3")
                assert terminal.shows(f"{expected}3"), "there is a space between"
    finally:
        terminal.close()
