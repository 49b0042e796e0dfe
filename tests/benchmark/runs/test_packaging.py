"""What is installed: our own packages, whole, and not in the way of others."""

import importlib.metadata
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = ("attacks", "benchmark", "metrics")
CHECKOUT = Path(__file__).resolve().parents[3]


def folder_of(package):
    """Where the package is imported from."""
    return Path(find_spec(package).origin).resolve().parent


@pytest.mark.skipif("GRADINV_TEST_INSTALLED" not in os.environ, reason="tox sets it: this may be an editable install")
@pytest.mark.parametrize("package", PACKAGES)
def test_the_installed_package_is_tested_and_not_the_checkout(package):
    assert (CHECKOUT / package).is_dir()
    assert folder_of(package) != CHECKOUT / package


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_is_installed(package):
    wanted = {
        path.relative_to(CHECKOUT / package)
        for path in (CHECKOUT / package).rglob("*.*")
        if path.suffix in (".py", ".yaml", ".html", ".css", ".js")
    }
    here = {path.relative_to(folder_of(package)) for path in folder_of(package).rglob("*.*")}
    assert wanted - here == set()


def test_the_three_packages_come_from_one_place():
    assert len({folder_of(package).parent for package in PACKAGES}) == 1


def test_the_distribution_names_its_command_and_licence():
    distribution = importlib.metadata.distribution("gradinv")
    commands = {point.name: point.value for point in distribution.entry_points if point.group == "console_scripts"}
    assert commands["gradinv"] == "benchmark.cli:main"
    assert distribution.metadata["License-Expression"] == "MIT"


@pytest.mark.parametrize("name", ["metrics", "attacks"])
def test_a_folder_of_our_name_in_front_is_told(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    result = subprocess.run(
        [sys.executable, "-P", "-c", "import benchmark"],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert last.startswith("benchmark.ShadowedPackageError: gradinv's package")
    assert f"{name!r}" in last
    assert str(tmp_path) in last
