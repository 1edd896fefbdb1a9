"""Two processes train together only if they see one folder and mean the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan.data import PackedDataset

# Run by each process: what each check says, "" where it says nothing.
SCRIPT = """
import json, sys, threading, time
from pathlib import Path

import torch

from sagan.config import resolve
from sagan.errors import SaganError
from sagan.run.directory import RunDescription
from sagan.runtime.processes import join_processes, leave_processes
from sagan.training import agreement
from sagan.training.agreement import check_alike, check_shared

rank = join_processes("cpu").process_index
folder = Path(sys.argv[1])
found = {}


def check(name, function, *arguments):
    try:
        function(*arguments)
        found[name] = ""
    except SaganError as error:
        found[name] = str(error).replace(f"own{rank}", "own")


def alike(precision=torch.float32, fingerprint="a", **settings):
    config = resolve("smoke", {"precision": "auto"} | settings)
    check_alike(RunDescription(config, "smoke", {"fingerprint": fingerprint}), precision)


check("one folder", check_shared, folder / "run")
(folder / "file").touch()
check("a file", check_shared, folder / "file")
link = folder / f"late{rank}"
if rank == 0:
    link.mkdir()
else:
    threading.Timer(1.0, link.symlink_to, [folder / "late0"]).start()
check("a folder that appears late", check_shared, link)
agreement.RETRY_SECONDS = 0.5
check("two folders", check_shared, folder / f"own{rank}")
check("alike", alike)
check("precision", lambda: alike((torch.float32, torch.bfloat16)[rank]))
check("images", lambda: alike(fingerprint="ab"[rank]))
check("settings", lambda: alike(lr_g=(1e-4, 2e-4)[rank], attention_g=([8], [16])[rank]))
left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("late"))
(folder / f"late-found{rank}").write_text(json.dumps(found | {"left": left}))
leave_processes()
"""


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    return {}


@pytest.fixture
def said(
    start_processes: Callable[..., Any],
    end_of: Callable[..., Any],
    tmp_path: Path,
    found: dict[str, Any],
) -> dict[str, Any]:
    """What the checks said, which must be the same in both processes."""
    if not found:
        command = ["-c", SCRIPT, str(tmp_path)]
        ends = [end_of(process) for process in start_processes([command, command])]
        assert [end.status for end in ends] == [0, 0], ends
        one, other = (json.loads((tmp_path / f"late-found{rank}").read_text()) for rank in (0, 1))
        assert one == other
        found |= one
    return found


def test_one_folder_is_accepted_and_nothing_is_left_in_it(said: dict[str, Any]) -> None:
    assert said["one folder"] == ""
    assert said["left"] == ["file"]


def test_a_folder_that_another_machine_sees_late_is_waited_for(said: dict[str, Any]) -> None:
    """As with NFS, which remembers for some seconds what was not there."""
    assert said["a folder that appears late"] == ""


def test_two_folders_are_refused_with_the_ranks_that_do_not_see_the_first(
    said: dict[str, Any],
) -> None:
    assert "what rank 0 (" in said["two folders"]
    assert "writes there is not seen by rank 1 (" in said["two folders"]
    assert said["two folders"].endswith("give an --out on a disk that all machines share")


def test_a_place_that_cannot_be_a_run_is_refused_by_all_processes(said: dict[str, Any]) -> None:
    assert "is a file, not a folder to train in" in said["a file"]


def test_processes_that_agree_are_not_disturbed(said: dict[str, Any]) -> None:
    assert said["alike"] == ""


@pytest.mark.parametrize(
    ("what", "difference", "cure"),
    [
        ("precision", "the precision is float32 on rank 0 (", "--set precision=float32"),
        ("images", "the images' fingerprint is a on rank 0 (", "sagan data pack"),
        ("settings", "lr_g is 0.0001 on rank 0 (", "start all with the same command"),
    ],
)
def test_a_difference_is_named_with_its_ranks_and_the_cure(
    said: dict[str, Any], what: str, difference: str, cure: str
) -> None:
    assert difference in said[what]
    assert "on rank 1 (" in said[what]
    assert cure in said[what]
    assert "\n" not in said[what]


def test_all_settings_that_differ_are_named(said: dict[str, Any]) -> None:
    assert "attention_g is [8] on rank 0" in said["settings"].replace("(8,)", "[8]")


def test_other_versions_are_refused_as_soon_as_the_processes_meet(
    labeled: PackedDataset,
    start_processes: Callable[..., Any],
    end_of: Callable[..., Any],
) -> None:
    """Before they exchange anything else, which may differ between versions."""
    script = (
        "import sys; from sagan.runtime import processes\n"
        "processes.__version__ = sys.argv[1]\n"
        "processes.join_processes('cpu')"
    )
    commands = [["-c", script, version] for version in ("1.0", "2.0")]
    for process in start_processes(commands):
        end = end_of(process)
        assert "SaganError: the processes of this command differ: sagan is 1.0 on rank 0" in end.err
        assert "install the same versions on all machines" in end.err
