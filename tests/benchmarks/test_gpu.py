"""The script for a GPU runs on a CPU, with all that it can, and says what it cannot."""

import contextlib
import importlib
import io
import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import benchmarks.gpu
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import measuring, tasks, text
from benchmarks.gpu.same_numbers import numbers_of_the_cpu
from sagan.config import Config
from sagan.nn import attention_kernels
from sagan.nn.attention import SelfAttention2d
from sagan.presets import PRESETS

START = subprocess.run


def in_this_process(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a task here, where torch is imported already; one of them as the script does."""
    if "benchmarks.gpu.tasks" not in words or "describe" in words:
        return START(words, **options)
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr("sys.argv", words[-3:])
        tasks.main()
    return subprocess.CompletedProcess(words, 0, printed.getvalue(), "")


@pytest.mark.parametrize("visible", ["3", None])
def test_the_script_sees_the_gpus_that_other_benchmarks_hide(
    monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    importlib.reload(benchmarks)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    importlib.reload(benchmarks.gpu)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(command, "PARITY", ("smoke",))
    monkeypatch.setattr(command, "LONGEST", 3600.0)  # on a busy machine, too
    # What is measured matters here, not how well.
    monkeypatch.setattr(measuring, "SLOW", 0.0)
    monkeypatch.setattr(measuring, "TURNS", 1)
    monkeypatch.setattr(tasks, "TURNS", 1)
    monkeypatch.setattr(command.subprocess, "run", in_this_process)
    words = [
        "--device=cpu",
        "--tiny",
        "--minutes=120",
        "--presets=dcgan-64,cpu-32",
        f"--out={tmp_path}",
    ]
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu", *words])
    command.main()
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert isinstance(found, dict)
    return found | {"text": (tmp_path / "gpu.md").read_text()}


def test_on_a_cpu_it_measures_everything_but_what_needs_a_gpu(results: dict[str, object]) -> None:
    missing = [f"{item['what']}: {item['why']}" for item in results["not_run"]]  # type: ignore[attr-defined]
    expected = ["cpu-32, naive: there is none for family", "peak memory: torch counts it"]
    graphs = "this version has no setting" if "compile" not in Config.model_fields else "compile="
    expected += [f"{preset}, graphs: {graphs}" for preset in ("dcgan-64", "cpu-32")]
    assert len(missing) == len(expected), missing
    for begin in expected:
        assert any(line.startswith(begin) for line in missing), missing
    attention = results["attention"]
    assert isinstance(attention, list)
    assert {(r["form"], r["scores"], r["backend"]) for r in attention} == {
        (form, scores, backend)
        for form in ("full", "paper", "pooled")
        for scores in ("dot", "cosine")
        for backend in ("eager", "flash", "chunked", "auto")
    }
    assert {r["dtype"] for r in attention} >= {"float32", "float16"}
    (training,) = results["training"]  # type: ignore[misc]
    assert training["here"] == training["cpu"]  # the same machine
    assert training["here, float16"] != training["cpu"]
    assert results["determinism"] == {"smoke": True}
    assert isinstance(results["text"], str)
    assert "WRONG" not in results["text"]
    assert "OTHER BITS" not in results["text"]
    assert "the figures mean nothing" in results["text"]
    lines = results["text"].splitlines()
    contenders = {"dcgan-64": ["eager", "naive"], "cpu-32": ["eager", "float16"]}
    for preset, names in contenders.items():
        rows = [line.split(" | ") for line in lines if line.startswith(f"| `{preset}` | 2 ")]
        assert [row[3] for row in rows] == names
        assert rows[-1][4] == ("float16" if preset == "cpu-32" else "float32")


def test_what_is_wrong_is_called_so() -> None:
    right = {"backend": "flash", "dtype": "float32", "output": 1e-6, "gradient": 1e-6,
             "weight": 1e-6, "second": 1e-6}  # fmt: skip
    assert [*text.attention([right])][-1].endswith("| ok |")
    assert [*text.attention([right, {**right, "weight": 1e-2}])][-1].endswith("| **WRONG** |")
    assert [*text.attention([right, {**right, "gradient": math.nan}])][-1].endswith("**WRONG** |")
    losses = [[1.0, 2.0]] * 6
    other = [[1.0, 2.0]] * 2 + [[1.1, 2.0]] * 4
    (row,) = [*text.training([{"preset": "smoke", "here": losses, "cpu": other}])][2:]
    assert row.endswith("| **WRONG** |")
    other[1] = [1.0, math.nan]
    (row,) = [*text.training([{"preset": "smoke", "here": other[:2], "cpu": losses[:2]}])][2:]
    assert row.endswith("| **WRONG** |")
    assert [*text.training([{"preset": "smoke", "here": None, "cpu": other}])][2:] == []
    near = [[1.02, 2.0]] * 6
    found = {"preset": "smoke", "here": near, "here, float16": near, "cpu": losses}
    exact, half = [*text.training([found])][2:]
    assert exact.endswith("| **WRONG** |")
    assert half.endswith("| ok |")
    assert [*text.bits({"smoke": False})] == ["* `smoke`: **OTHER BITS**"]


def test_first_derivatives_go_the_way_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = attention_kernels._backward

    def recorded(*arguments: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return original(*arguments)

    monkeypatch.setattr(attention_kernels, "_backward", recorded)
    layer = SelfAttention2d(16, backend="flash")
    nn.init.ones_(layer.gamma)
    x = torch.randn(2, 16, 4, 4)
    found = tasks._derivatives(layer, x, torch.randn_like(x))
    assert calls == [True]  # by the second derivative, not by the first
    assert all(value.isfinite().all() for value in found.values())


def test_a_contender_that_fails_while_it_is_timed_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = tasks._naive_step

    def failing(*arguments: Any) -> Any:
        work, left = original(*arguments), iter(range(6))

        def step() -> None:
            if next(left, None) is None:
                raise RuntimeError("CUDA out of memory")
            work()

        return step

    monkeypatch.setattr(tasks, "_naive_step", failing)
    found = tasks.step(torch.device("cpu"), True, "smoke", {"eager": {}})
    assert found["failed"] == {"naive": "out of memory"}
    assert len(found["seconds"].pop("eager")) == tasks.TURNS
    assert not found["seconds"]


def test_a_measurement_that_fails_or_has_no_time_is_named_with_the_reason(
    start_python: Callable[..., Any], end_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        ended = end_of(start_python(words[1:]))
        return subprocess.CompletedProcess(words, ended.status, ended.out, ended.err)

    monkeypatch.setattr(command.subprocess, "run", run)
    bench = command.Bench("cpu", True, 5)
    assert bench.run("a step", "step", preset="none", modes={}) is None
    assert bench.not_run[0]["what"] == "a step"
    assert "unknown preset 'none'" in bench.not_run[0]["why"]
    late = command.Bench("cpu", True, 0)
    assert late.run("a step", "describe") is None
    assert late.not_run == [{"what": "a step", "why": "no time was left"}]


def test_all_presets_are_measured_unless_some_are_chosen() -> None:
    assert sorted(command.ORDER) == sorted(PRESETS)


def test_numbers_are_those_of_the_cpu_however_they_are_drawn() -> None:
    expected = torch.Generator().manual_seed(3)
    with numbers_of_the_cpu():
        rng = torch.Generator("meta").manual_seed(3)
        drawn = torch.randn(4, generator=rng, device="cpu")
        assert torch.randn(2, generator=rng, device="meta").is_meta
        filled = torch.zeros(3).uniform_(generator=rng)
        chosen = torch.bernoulli(torch.full((5,), 0.5), generator=rng)
    assert torch.equal(drawn, torch.randn(4, generator=expected))
    torch.randn(2, generator=expected)
    assert torch.equal(filled, torch.zeros(3).uniform_(generator=expected))
    assert torch.equal(chosen, torch.bernoulli(torch.full((5,), 0.5), generator=expected))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu", f"--out={tmp_path / 'results'}"])
    with pytest.raises(SystemExit, match=r"cannot compute on 'cuda': .*device 'cuda' is not avail"):
        command.main()
    assert not (tmp_path / "results").exists()
