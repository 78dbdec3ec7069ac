"""Imports go downwards only, and a light algorithm stays light."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from algorithms import registry

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("recordio", "algorithms", "container", "local")  # from the lowest up
SOURCES = sorted(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py") if file.name != "record_pb2.py")
SHARED = {"common", "vision", "estimators"}
LOWER = [file for file in SOURCES if file.relative_to(ROOT).parts[0] not in ("container", "local")]


def name(file):
    return str(file.relative_to(ROOT))


@functools.cache
def nodes(file):
    """The nodes of a file's syntax tree; several tests ask for the same."""
    return [*ast.walk(ast.parse(file.read_text(), filename=str(file)))]


@functools.cache
def imports(file):
    """The modules that a file imports anywhere in it, by full name; ``from a import b`` counts as ``a`` and ``a.b``."""
    found = []
    for node in nodes(file):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(file)}: imports are absolute here"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def texts(file):
    return [node for node in nodes(file) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def offences(files, of):
    """What ``of`` finds in each of the files, by their names. One test looks at all of them, so that each is parsed
    once, and not in every process that runs tests."""
    return {name(file): found for file in files if (found := of(file))}


def test_no_import_points_upwards():
    def upwards(file):
        above = LAYERS[LAYERS.index(file.relative_to(ROOT).parts[0]) + 1 :]
        return [module for module in imports(file) if module.split(".")[0] in above]

    assert offences(SOURCES, upwards) == {}


def test_algorithms_do_not_import_each_other():
    folders = {folder.name for folder in (ROOT / "algorithms").iterdir() if folder.is_dir()} - SHARED

    def others(file):
        _, own, _ = file.relative_to(ROOT).parts
        forbidden = {f"algorithms.{folder}" for folder in folders - {own}}
        return [module for module in imports(file) if ".".join(module.split(".")[:2]) in forbidden]

    assert offences([file for file in LOWER if len(file.relative_to(ROOT).parts) == 3], others) == {}


def test_the_lower_layers_know_neither_http_nor_the_environment_nor_sagemakers_folders():
    def known(file):
        web = {"flask", "gunicorn", "werkzeug", "http"}
        found = [module for module in imports(file) if module.split(".")[0] in web]
        attributes = [node.attr for node in nodes(file) if isinstance(node, ast.Attribute)]
        found += [attribute for attribute in attributes if attribute in {"environ", "getenv"}]
        docstrings = {id(node.value) for node in nodes(file) if isinstance(node, ast.Expr)}
        found += [text.value for text in texts(file) if id(text) not in docstrings and "/opt/ml" in text.value]
        if file.relative_to(ROOT).parts[0] == "algorithms":
            found += [text.value for text in texts(file) if re.search("SAGEMAKER_[A-Z]|OBA_[A-Z]|/opt/ml/", text.value)]
        return found

    assert offences(LOWER, known) == {}


ALGORITHM_FOLDERS = {entry.location.split(".")[1].split(":")[0] for entry in registry.ALGORITHMS.values()}
OUTSIDE = [
    file
    for file in SOURCES
    if not ALGORITHM_FOLDERS & set(file.relative_to(ROOT).parts) and file != ROOT / "algorithms" / "registry.py"
]
PACKAGE_OR_DIALECT = {  # "xgboost" there is the package that connects hosts, or Amazon's container of that name
    "container/serving/dialects.py"
}


def test_no_algorithm_is_known_outside_its_folder_and_the_registry():
    own = {f"algorithms.{folder}" for folder in ALGORITHM_FOLDERS}

    def known(file):
        names = registry.ALGORITHMS.keys() - ({"xgboost"} if name(file) in PACKAGE_OR_DIALECT else set())
        found = [module for module in imports(file) if ".".join(module.split(".")[:2]) in own]
        return found + [text.value for text in texts(file) if text.value in names]

    assert offences(OUTSIDE, known) == {}


def test_the_users_command_is_imported_by_nothing_below():
    below = [file for file in SOURCES if file.relative_to(ROOT).parts[0] != "local"]
    assert [name(file) for file in below for module in imports(file) if module.split(".")[0] == "local"] == []


@pytest.mark.parametrize("folder", sorted(ALGORITHM_FOLDERS))
@pytest.mark.parametrize("file", ["__init__.py", "fit.py", "model.py", "README.md"])
def test_each_algorithm_has_the_same_files(folder, file):
    assert (ROOT / "algorithms" / folder / file).is_file()


@pytest.mark.parametrize("folder", sorted(ALGORITHM_FOLDERS))
def test_each_algorithm_is_explained(folder):
    """What it is, how it is used, how it works, how it differs from SageMaker's, and what it comes from."""
    text = (ROOT / "algorithms" / folder / "README.md").read_text()
    title, _, first = text.partition("\n\n")
    assert title.startswith("# ") and len(first.partition("\n## ")[0].strip()) > 40
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    wanted = ["Train and ask", "How it works", "What differs from SageMaker's"]
    assert [heading for heading in wanted if not any(found.startswith(heading) for found in headings)] == []
    assert "oba train" in text
    assert "## References" in text, "name the papers, or the program that it follows"


@pytest.mark.parametrize("folder", sorted(ALGORITHM_FOLDERS))
def test_the_files_that_a_page_names_are_there(folder):
    named = re.findall(r"`(\w+\.py)`", (ROOT / "algorithms" / folder / "README.md").read_text())
    there = {file.name for file in (ROOT / "algorithms" / folder).glob("*.py")}
    assert set(named) <= there


def test_each_folder_of_algorithms_is_in_the_registry_or_shared():
    folders = {file.parent.name for file in (ROOT / "algorithms").glob("*/__init__.py")}
    assert folders == ALGORITHM_FOLDERS | SHARED


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_typed(layer):
    assert (ROOT / layer / "py.typed").is_file()


def imported_by(statement):
    """Top-level packages in memory after ``statement`` ran in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("algorithm", [name for name, entry in registry.ALGORITHMS.items() if entry.extra is None])
def test_an_algorithm_without_an_extra_imports_no_heavy_package(algorithm):
    heavy = {"xgboost", "pyarrow", "tensorflow", "keras", "torch", "jax", "sklearn", "pandas", "flask"}
    program = (
        f"from algorithms import registry\nregistry.find('{algorithm}')\nimport container.serving.app, recordio.readers"
    )
    assert imported_by(program).isdisjoint(heavy - {"flask"})


def test_the_commands_import_numpy_only_when_they_run():
    # serve sets the number of BLAS threads, which NumPy reads once, when it is imported.
    heavy = {"numpy", "scipy", "pyarrow", "flask", "xgboost"}
    assert imported_by("import container.__main__").isdisjoint(heavy)
    assert imported_by("import local.__main__").isdisjoint(heavy)
