"""The passes of a step compile in one graph each, for all steps, and train the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.training import compiling
from sagan.training.compiling import make_compiler
from sagan.training.state import Training

CPU = torch.device("cpu")
STEP: dict[str, dict[str, Any]] = {
    "alternating": {"d_steps": 2, "loss": "wasserstein-gp"},
    "reused fakes": {"reuse_fakes": True},
}


@pytest.mark.parametrize("kind", STEP)
def test_compiled_passes_have_no_graph_break_and_the_losses_of_uncompiled_ones(
    kind: str,
    labeled: PackedDataset,
    start_training: Callable[..., Training],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Traced and differentiated by torch's compiler, and then run by the usual kernels."""
    monkeypatch.setitem(compiling.BACKENDS, "inductor", "aot_eager")
    settings = STEP[kind] | {"batch_size": 4, "augment": 0.5}
    plain = start_training(labeled, **settings)
    compiled = start_training(labeled, **settings, compile="inductor")
    for step in range(3):
        expected, found = plain.advance(), compiled.advance()
        losses = [torch.stack([result.loss, loss_g]) for result, loss_g in (expected, found)]
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-4)
        if step == 0:
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs  # none for later steps
    assert not torch._dynamo.utils.counters["graph_break"]


def test_nothing_is_compiled_unless_asked_for() -> None:
    for setting in ("auto", "none"):
        assert make_compiler(setting, CPU, 2, ()) is compiling.uncompiled


def test_what_cannot_be_compiled_is_refused(
    unlabeled: PackedDataset, start_training: Callable[..., Training]
) -> None:
    with pytest.raises(SaganError, match="needs a GPU with CUDA, and this is cpu"):
        start_training(unlabeled, compile="graphs")
    with pytest.raises(SaganError, match="in one process, and here are 2"):
        make_compiler("inductor", CPU, 2, ())


def test_a_compiler_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_gcc(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> None:
        raise RuntimeError("no C++ compiler\nlong story")

    monkeypatch.setitem(compiling.BACKENDS, "inductor", without_gcc)
    forward = make_compiler("inductor", CPU, 1, ())(lambda x: x + 1)
    with pytest.raises(SaganError) as caught:
        forward(torch.ones(2))
    assert "no C++ compiler" in str(caught.value)
    assert "leave compile=inductor out" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_graphs_are_marked() -> None:
    assert compiling.make_marker("graphs") is torch.compiler.cudagraph_mark_step_begin
    assert compiling.make_marker("inductor")() is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"reuse_fakes": True}, ["mark", "draw_views", "judge_views", "deceive_by_view"]),
        ({"accumulation": 2}, [*["mark", "draw_fakes", "judge"] * 2, *["mark", "deceive"] * 2]),
    ],
)
def test_a_mark_precedes_the_first_pass_of_each_shard(
    settings: dict[str, Any],
    expected: list[str],
    unlabeled: PackedDataset,
    start_training: Callable[..., Training],
) -> None:
    training = start_training(unlabeled, **settings)
    found: list[str] = []

    def recorded(forward: Callable[..., Any]) -> Callable[..., Any]:
        found.append(forward.__name__)
        return forward

    training.adversaries = replace(
        training.adversaries, compiled=recorded, begin_passes=lambda: found.append("mark")
    )
    training.advance()
    assert found == expected


def test_with_graphs_results_and_gradients_are_copies_that_no_replay_overwrites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory: list[Tensor] = []

    def replayed(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        memory.append(2 * x)
        return memory[0], (memory[0],)

    first, (second,) = compiling.owning(replayed)(torch.ones(2))
    layer = nn.Linear(2, 1, bias=False)
    compiling.own_gradients((layer,))
    gradient = torch.full((1, 2), 3.0)
    (layer.weight * gradient).sum().backward()
    memory[0].zero_()
    gradient.zero_()
    assert first.tolist() == second.tolist() == [2, 2]
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[3, 3]]
