"""A step stays within its number of operations, and the count leaves out what computes nothing."""

import pytest
import torch

from benchmarks import ops

# So narrow that no convolution takes Winograd's way, which has many operations, on CPUs only.
NARROW = {"channels_g": 8, "channels_d": 8}


@pytest.mark.parametrize(("preset", "most"), [("sagan-32", 1500), ("sagan-128", 900)])
def test_a_step_dispatches_no_more_operations_than_it_may(preset: str, most: int) -> None:
    result = ops.measure(preset, **NARROW)
    assert most / 2 < result.total <= most
    assert result.normalization < result.total / 5
    assert f"| `{preset}` | {result.total:,} |" in ops.table([result])[-1]


def test_views_allocations_and_marks_are_not_counted_but_work_is() -> None:
    x = torch.ones(2, 3)
    with ops._Count() as count:
        x.view(3, 2).transpose(0, 1).unbind()
        torch.empty(4)
        with torch.autograd.profiler.record_function("mark"):
            x + 1
            x.sum()
    assert count.counts == {"forward": 2}


def test_operations_count_where_they_come_from() -> None:
    layer = torch.nn.Linear(3, 2)
    with ops._Count() as count:
        layer(torch.ones(1, 3)).sum().backward()
    assert set(count.counts) == {"forward", "backward"}
