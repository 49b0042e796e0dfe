"""What others add: attacks in a file, in an installed package, in a new file of ours."""

import csv
import importlib.metadata
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gradinv.benchmark.experiment import spec
from gradinv.benchmark.experiment.spec import result_versions
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.registry import load_plugin

OWN_LOOP = '''
"""Follow the sign of the matching gradient: a whole attack."""
import torch
from gradinv.attacks.attack import Attack
from gradinv.attacks.dlg import ZHU_2019
from gradinv.attacks.leak import Reconstruction
from gradinv.attacks.registry import register_attack

@register_attack("sign_descent", paper=ZHU_2019)
class SignDescent(Attack):
    """Sign descent on the squared distance to the observed gradients."""

    def __init__(self, *, lr: float = 0.05) -> None:
        self.lr = lr

    def reconstruct(self, leak, victim, *, seed, budget=None):
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(leak.shape, generator=generator).requires_grad_(True)
        for _ in range(budget):
            own = victim.update(images, leak.labels)
            value = sum((a - b).square().sum() for a, b in zip(own, leak.gradients.values(), strict=True))
            images.data -= self.lr * torch.autograd.grad(value, images)[0].sign()
        images = images.detach()
        return Reconstruction(images, images, leak.labels, "given", evaluations=budget)
'''
PACKAGE = """
from gradinv.attacks.dlg import DLG, ZHU_2019
from gradinv.attacks.registry import register_attack

register_attack("from_a_package", paper=ZHU_2019)(type("Packaged", (DLG,), {"__doc__": "DLG.", "__module__": __name__}))
"""
LISTING = """
import sys
from gradinv.attacks.registry import attack_keys
print(*attack_keys(), sep="\\n")
assert "torch" not in sys.modules, "torch was imported"
"""


def test_an_attack_with_its_own_loop_is_a_short_file(run_suite, write_suite, tmp_path, tools):
    plugin = tmp_path / "sign_descent.py"
    plugin.write_text(OWN_LOOP)
    assert len(OWN_LOOP.strip().splitlines()) < 30
    suite = write_suite(controls=["other_gradient", "mean_image"])
    result = run_suite(suite, "--plugin", plugin, "--attack", "sign_descent[lr=0.1]")
    assert result.status == 0, result.out
    records = tools.records_by_label(tmp_path / "run")
    assert set(records) == {
        ("sign_descent[lr=0.1]", 0), ("other_gradient of sign_descent[lr=0.1]", 0), ("mean_image", 0)
    }  # fmt: skip
    assert records["sign_descent[lr=0.1]", 0].evaluations == 5


def test_an_edited_plugin_runs_its_own_trials_again_and_no_others(run_suite, write_suite, tmp_path, tools):
    plugin = tools.make_plugin(tmp_path / "edited.py", "edited")
    suite = write_suite(attacks=["dlg", "edited"], batches=2)
    run_suite(suite, "--plugin", plugin)
    before = tools.files_of(tmp_path / "run")
    assert "4 done before, 0 to run" in run_suite(suite, "--plugin", plugin).out
    plugin.write_text(plugin.read_text().replace("seed + 100", "seed + 200"))
    result = run_suite(suite, "--plugin", plugin)
    assert "2 done before, 2 to run" in result.out
    after = tools.files_of(tmp_path / "run")
    assert {name: after[name] for name in before} == before
    assert "2 records of other suites or specifications are not on this board" in result.out
    with RunDirectory(tmp_path / "run").board.open(newline="", encoding="utf-8") as file:
        assert [(row["attack"], row["n_batches"]) for row in csv.DictReader(file)] == [("dlg", "2"), ("edited", "2")]


@pytest.mark.parametrize(("package", "again"), [("pandas", 0), ("timm", 1)])
def test_which_upgrades_run_trials_again(run_suite, write_suite, monkeypatch, package, again):
    suite = write_suite()
    run_suite(suite)
    real = importlib.metadata.version
    for module in (importlib.metadata, spec):
        monkeypatch.setattr(module, "version", lambda name: "99.0" if name == package else real(name))
    result_versions.cache_clear()
    result = run_suite(suite)
    result_versions.cache_clear()
    assert f"{again} to run" in result.out


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such Python file"), ("def", "cannot be imported"), ("import no_such_module", "cannot be imported")],
)
def test_plugins_that_cannot_be_loaded(gradinv, tmp_path, content, message):
    path = tmp_path / "bad.py"
    if content is not None:
        path.write_text(content)
    result = gradinv("list", "attacks", "--plugin", path)
    assert result.status == 2
    assert result.err.startswith("gradinv: plug-in")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_name_that_is_taken_is_refused(run_suite, write_suite, tmp_path, tools):
    plugin = tools.make_plugin(tmp_path / "taken.py", "idlg")
    result = run_suite(write_suite(attacks=["idlg"]), "--plugin", plugin)
    assert result.status == 2
    assert "'idlg' is registered twice" in result.err


def test_plugins_are_listed_and_shown(gradinv, tmp_path, tools):
    plugin = tools.make_plugin(tmp_path / "listed.py", "listed")
    assert "listed" in gradinv("list", "attacks", "--plugin", plugin).out.split()
    shown = gradinv("show", "attack", "listed[step=0.5]", "--plugin", plugin).out
    assert "accidents on request" in shown
    assert "step = 0.5" in shown


@pytest.fixture
def installed_package(tmp_path):
    """A folder in which a package is installed that offers an attack by entry point."""
    (tmp_path / "gradinv_extra.py").write_text(PACKAGE)
    facts = tmp_path / "gradinv_extra-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gradinv-extra\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[gradinv.attacks]\nfrom_a_package = gradinv_extra\n")
    return tmp_path


def run_python(code, path):
    """Run code in a fresh Python with `path` first among the places of packages."""
    environment = {"PYTHONPATH": str(path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, cwd=path, capture_output=True, text=True, check=False
    )


def test_attacks_of_other_packages_are_listed(installed_package):
    listed = run_python(LISTING, installed_package)
    assert listed.returncode == 0, listed.stderr
    assert "from_a_package" in listed.stdout.split()


def test_attacks_of_other_packages_are_made(installed_package):
    made = run_python(
        "from gradinv.attacks.registry import create_attack; print(create_attack('from_a_package'))", installed_package
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("Packaged[")


def test_a_new_file_in_the_package_is_listed_without_importing_anything(tmp_path):
    for package in ("gradinv", "gradinv.attacks", "gradinv.metrics"):
        folder = Path(find_spec(package).origin).parent
        shutil.copytree(folder, tmp_path.joinpath(*package.split(".")), dirs_exist_ok=True)
    (tmp_path / "gradinv" / "attacks" / "brand_new.py").write_text(
        'raise RuntimeError("imported")\n\n@register_attack("brand_new", paper=None)\nclass BrandNew:\n    pass\n'
    )
    listed = run_python(LISTING, tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert {"brand_new", "dlg"} <= set(listed.stdout.split())


def test_a_plugin_may_be_loaded_twice(tmp_path, tools):
    plugin = tools.make_plugin(tmp_path / "twice.py", "twice")
    load_plugin(plugin)
    load_plugin(plugin)
