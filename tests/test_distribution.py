"""The distribution's name and files, and what happens beside the other package called sagan."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import sagan
import torch_sagan
from sagan.metrics.protocol import COMPUTED_WITH

ROOT = Path(__file__).parents[1]
RUN = "import torch_sagan; torch_sagan.main()"


def run_command(site: Path) -> subprocess.CompletedProcess[str]:
    """`sagan --version`, with a folder before all others that packages are imported from."""
    shutil.copy(ROOT / "torch_sagan.py", site)
    return subprocess.run(
        [sys.executable, "-c", RUN, "--version"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
        cwd=site,
        capture_output=True,
        text=True,
    )


def test_the_distribution_is_called_torch_sagan_and_has_the_packages_version() -> None:
    assert metadata.version("torch-sagan") == sagan.__version__
    (command,) = metadata.entry_points(group="console_scripts", name="sagan")
    assert command.load() is torch_sagan.main


def test_what_numbers_are_computed_with_comes_with_the_extra_for_metrics() -> None:
    """Versions of these are recorded once all is computed: too late to find one missing."""
    installed = [
        requirement
        for requirement in metadata.requires("torch-sagan") or []
        if "extra ==" not in requirement or re.search("extra == .metrics", requirement)
    ]
    assert set(COMPUTED_WITH) <= {re.split(r"[^\w-]", name)[0] for name in installed}


def test_the_command_runs_where_the_package_is_ours(tmp_path: Path) -> None:
    assert run_command(tmp_path).stdout == f"sagan {sagan.__version__}\n"


@pytest.mark.parametrize("content", ["import smbus2", ""])
def test_the_drivers_package_is_named_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "sagan").mkdir()
    (tmp_path / "sagan" / "__init__.py").write_text(content)
    ended = run_command(tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "pip uninstall sagan torch-sagan" in ended.stderr


def test_a_package_whose_init_was_removed_with_the_driver_is_named_in_one_line(
    tmp_path: Path,
) -> None:
    (tmp_path / "sagan" / "cli").mkdir(parents=True)
    shutil.copy(ROOT / "torch_sagan.py", tmp_path)
    # Without site packages, and without whatever this process got its packages from.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-S", "-c", RUN],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1


def test_importing_beside_the_driver_warns(tmp_path: Path) -> None:
    (tmp_path / "sagan").mkdir()
    for name in ("__init__.py", "__init__.pyi"):
        shutil.copy(ROOT / "sagan" / name, tmp_path / "sagan")
    code = "import warnings; warnings.simplefilter('error'); import sagan"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    beside = [sys.executable, "-c", code]
    subprocess.run(beside, env=environment, cwd=tmp_path, check=True)
    (tmp_path / "sagan" / "i2c.py").touch()
    ended = subprocess.run(beside, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "sensor-board driver" in ended.stderr
