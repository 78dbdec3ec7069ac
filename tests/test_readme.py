"""The README and the pages as a newcomer reads them: commands run, and tables are those of the declarations."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from algorithms import hyperparameters, registry
from local.commands import oba
from tests.interop import environments
from tests.interop.environments import SDK2, SDK3
from tests.server import free_port

ROOT = Path(__file__).resolve().parents[1]
MXNET = ("mxnet", ["mxnet==1.9.1", "numpy<1.24"])
ENVIRONMENTS = {"mxnet": MXNET, "sdk2": SDK2, "sdk3": SDK3}
STAND_IN = ROOT / "tests" / "interop" / "docker_stand_in.py"

# `docker` for the README: builds nothing, and runs `train` and `serve` of this environment on the mounted folder.
DOCKER = r"""#!/bin/bash
set -eu
verb=$1
# What the SDKs ask of an engine is answered by the stand-in that their own tests use.
[[ $verb == compose || $verb == images || $verb == context ]] && exec "$SDK_PYTHON" "$STAND_IN" "$@"
shift
case $verb in
build) ;;
stop) kill "$(cat "$1.pid")" ;;
run)
    while [[ $1 == --* ]]; do
        case $1 in
        --rm) ;;
        --detach) detach=yes ;;
        --name) name=$2; shift ;;
        --publish) export SAGEMAKER_BIND_TO_PORT=${2%%:*}; shift ;;
        --volume) export SAGEMAKER_BASE_DIR=${2%%:*}; shift ;;
        *) echo "unknown option $1" >&2; exit 1 ;;
        esac
        shift
    done
    export ALGORITHM=$1
    if [[ ${detach:-} ]]; then
        "$COMMANDS/$2" > "$name.log" 2>&1 &
        echo $! > "$name.pid"
    else
        "$COMMANDS/$2"
    fi
    ;;
esac
"""


@pytest.fixture(scope="module")
def readme():
    """The module that knows the README's form."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import readme

        return readme
    finally:
        sys.path.pop(0)


def all_blocks(readme):
    return [block for page in readme.PAGES for block in readme.blocks(page.read_text())]


def test_tables_are_up_to_date(readme):
    pages = {page: page.read_text() for page in (readme.README, readme.FORMATS_PAGE)}
    for page, text in pages.items():
        assert readme.with_tables(text) == text, f"the tables of {page.name} are old: make tables"
    found = [name for name in readme.TABLES if any(f"<!-- {name}:end -->" in text for text in pages.values())]
    assert found == [*readme.TABLES]


def test_the_readme_is_short(readme):
    assert len(readme.README.read_text().splitlines()) <= 250


def test_the_page_of_limits_is_up_to_date(readme):
    assert readme.limits() == readme.LIMITS_PAGE.read_text(), "docs/limits.md is old: make tables"


def test_every_limit_has_its_reason(readme):
    names = {name for name in vars(readme.bounds) if name.isupper()}
    assert {name for name, *_ in readme._bounds()} == names


@pytest.mark.slow
def test_commands_run(readme, tmp_path):
    """All marked blocks in their order, as one reader in one folder would run them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    found = all_blocks(readme)
    assert {block.heading for block in found} >= {"In Docker", "k-means", "PCA", "XGBoost", "Linear learner"}
    port = free_port()
    (tmp_path / ".sagemaker").mkdir()
    (tmp_path / ".sagemaker" / "config.yaml").write_text(f"local: {{serving_port: {port}}}\n")
    ran = [block.heading for block in found if run(block, tmp_path)]
    assert len(ran) >= 8


def run(block, folder: Path) -> bool:
    """Run a block in ``folder``. False where this machine lacks what it needs."""
    text = block.text
    if "curl" in text and not shutil.which("curl"):
        return False
    if block.needs.startswith("sdk") and not shutil.which("pgrep"):
        return False  # the SDK ends its containers with it
    if block.needs in ENVIRONMENTS:
        try:
            command = [str(environments.python_of(*ENVIRONMENTS[block.needs])), "-c", text]
        except pytest.skip.Exception:
            return False
    elif block.language == "python":
        command = [sys.executable, "-c", text]
    else:
        command = ["bash", "-euo", "pipefail", "-c", text.replace("8080", str(free_port()))]
    paths = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    commands = str(Path(sys.executable).parent)
    # A newcomer has no region and no credentials set. The SDKs tell Amazon of each call: not from here.
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ALGORITHM", "SAGEMAKER_"))
    }
    variables = {
        **own,
        "PATH": paths,
        "COMMANDS": commands,
        "STAND_IN": str(STAND_IN),
        "STAND_IN_COMMANDS": commands,
        "STAND_IN_IMAGES": ",".join(registry.ALGORITHMS),
        "SDK_PYTHON": command[0],
    }
    if block.needs.startswith("sdk"):
        refused = f"http://127.0.0.1:{free_port()}"
        variables |= {"HOME": str(folder), "HTTPS_PROXY": refused, "AWS_MAX_ATTEMPTS": "1"}
        variables["AWS_EC2_METADATA_DISABLED"] = "true"
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{block.heading}:\n{text}\n{done.stdout}\n{done.stderr}"
    for expected in re.findall(r"^print\(.*\)  # (.*)$", text, re.M):
        assert numbers(done.stdout) == pytest.approx(numbers(expected), rel=1e-3)
    printed = [numbers(line) for line in done.stdout.splitlines()]
    for line in block.answer.splitlines():
        shown = numbers(line)
        near = pytest.approx(shown, rel=0.02, abs=2e-3)  # other processors round otherwise
        assert not shown or any(found[: len(shown)] == near for found in printed), f"{line}\nis none of\n{done.stdout}"
    return True


def numbers(text: str) -> list[float]:
    """The numbers in a text."""
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)]


@pytest.mark.parametrize("sdk", ["sdk2", "sdk3"])
def test_the_examples_of_the_sdks_are_those_of_the_readme(readme, sdk):
    (block,) = [block for block in all_blocks(readme) if block.needs == sdk]
    assert (ROOT / "examples" / f"{sdk}.py").read_text().endswith(f'"""\n\n{block.text}')


COMMAND = re.compile(r"^(?:\.venv/bin/)?oba ((?:.*\\\n)*.*)$", re.M)
SHOWN = [
    pytest.param(command.replace("\\\n", " "), id=f"{file.parent.name}-{file.stem}-{number}")
    for file in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("algorithms/*/README.md")))
    for number, command in enumerate(COMMAND.findall(file.read_text()))
]


@pytest.mark.parametrize("command", SHOWN)
def test_every_command_that_a_readme_shows_is_one(command):
    """Its options and its hyperparameters are known; the data that it names need not be there."""
    verb, *words = shlex.split(re.sub(r" > \S+( &)?$", "", command), comments=True)
    for option in ("--source", "--target", "--model", "--from"):  # must exist
        if option in words:
            words[words.index(option) + 1] = __file__
    if verb == "run":
        words[0] = __file__  # so must the request
    context = oba.commands[verb].make_context(verb, words)
    if verb == "train":
        declared = registry.find(context.params["algorithm"]).hyperparameters
        assert {name for name, _ in context.params["settings"]} <= set(hyperparameters.fields(declared))


@pytest.mark.parametrize("name", ["kmeans", "pca"])
def test_the_python_of_a_readme_gives_what_it_says(name):
    done = doctest.testfile(str(ROOT / "algorithms" / name / "README.md"), module_relative=False)
    assert done.attempted > 5
    assert done.failed == 0
