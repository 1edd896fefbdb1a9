"""Two processes measure the same as one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan.data import PackedDataset
from sagan.metrics import SamplePlan, evaluate

METRICS = ["fid", "kid", "coverage", "class-accuracy"]
# Executed by each process with the run, the packed set and a file for its result as arguments.
SCRIPT = """
import json, os, sys
from pathlib import Path

import torch
from sagan.data import PackedDataset
from sagan.metrics import SamplePlan, evaluate
from sagan.metrics.features import extraction
sys.path.insert(0, sys.argv[4])
from conftest import make_tiny_network

extraction.IMAGES_PER_CHUNK = 8
torch.set_num_threads(1)
network = make_tiny_network()
dataset = PackedDataset.open(Path(sys.argv[2]))
found = evaluate(sys.argv[1], dataset, metrics=METRICS, network=network, plan=SamplePlan(num=37))
rank = os.environ["RANK"]
Path(sys.argv[3] + rank).write_text(json.dumps([found, network.module.seen]))
torch.distributed.destroy_process_group()
"""


def test_two_processes_share_the_images_and_agree_with_one(
    finished_run: Path,
    labeled: PackedDataset,
    tiny_network,
    tmp_path: Path,
    start_processes: Callable[..., Any],
    end_of: Callable[..., Any],
) -> None:
    plan = SamplePlan(num=37)
    expected = evaluate(finished_run, labeled, metrics=METRICS, network=tiny_network, plan=plan)
    alone = tiny_network.module.seen
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("METRICS", repr(METRICS)))
    command = [
        str(script), str(finished_run), str(labeled.path), str(tmp_path / "found"),
        str(Path(__file__).parent),
    ]  # fmt: skip
    # Another cache than the features of the real images are in by now.
    environment = {"SAGAN_CACHE": str(tmp_path / "another cache"), "CUDA_VISIBLE_DEVICES": ""}
    for process in start_processes([command, command], **environment):
        end = end_of(process)
        assert end.status == 0, end.err
    (one, seen), (other, seen_by_other) = (
        json.loads((tmp_path / f"found{rank}").read_text()) for rank in (0, 1)
    )
    assert one == other
    assert one["metrics"] == pytest.approx(expected["metrics"], rel=1e-5, abs=1e-7)
    assert one["protocol"] == expected["protocol"]
    assert seen + seen_by_other == alone == 37 + 18
    assert 0.3 * alone < seen < 0.7 * alone
