"""What is installed: one package, whole, and neither in the way of others nor they in its way."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

FOLDERS = ("attacks", "benchmark", "metrics")
CHECKOUT = Path(__file__).resolve().parents[1]


def folder_of(package):
    """Where the package is imported from."""
    return Path(find_spec(package).origin).resolve().parent


@pytest.mark.skipif("GRADINV_TEST_INSTALLED" not in os.environ, reason="tox sets it: this may be an editable install")
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_installed_package_is_tested_and_not_the_checkout(folder):
    assert (CHECKOUT / folder).is_dir()
    assert folder_of(f"gradinv.{folder}") != CHECKOUT / folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_installed(folder):
    wanted = {
        path.relative_to(CHECKOUT / folder)
        for path in (CHECKOUT / folder).rglob("*.*")
        if path.suffix in (".py", ".pyi", ".yaml", ".html", ".css", ".js")
    }
    package = folder_of(f"gradinv.{folder}")
    assert wanted - {path.relative_to(package) for path in package.rglob("*.*")} == set()


def test_every_room_is_listed_in_pyproject():
    listed = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    rooms = [path.parent for folder in FOLDERS for path in (CHECKOUT / folder).rglob("__init__.py")]
    names = {"gradinv." + ".".join(room.relative_to(CHECKOUT).parts) for room in rooms}
    assert set(listed) == {"gradinv", *names}


def test_the_package_says_that_it_is_typed():
    assert (folder_of("gradinv") / "py.typed").is_file()


def test_the_distribution_names_its_command_and_licence():
    distribution = importlib.metadata.distribution("gradinv")
    commands = {point.name: point.value for point in distribution.entry_points if point.group == "console_scripts"}
    assert commands["gradinv"] == "gradinv.benchmark.cli:main"
    assert distribution.metadata["License-Expression"] == "MIT"


@pytest.mark.parametrize("name", ["metrics", "attacks"])
def test_a_folder_and_a_module_of_our_rooms_names_are_no_obstacle(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("raise RuntimeError('not ours')\n")
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    code = (
        "import sys; sys.path.insert(0, ''); from gradinv.attacks.registry import create_attack; create_attack('dlg')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_pyproject_citation_and_changelog_agree():
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (.*)$", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert str(citation["version"]) == version == newest.split()[0]
    assert ("date-released" in citation) != newest.endswith("(unreleased)")
