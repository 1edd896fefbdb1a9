"""A run is a function of its configuration and data, however often it is interrupted."""

import json
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from sagan.data import PackedDataset, open_source, pack
from sagan.errors import SaganError
from sagan.model import open_model
from sagan.nn.augment import AdaptiveAugment
from sagan.presets import PRESETS
from sagan.run import checkpoint, directory
from sagan.run.directory import read_description
from sagan.run.stats import read_records
from sagan.training import adversaries, loop
from sagan.training.loop import Interrupted
from sagan.training.recorder import Reporter
from sagan.training.session import prepare_session
from sagan.training.signals import Requests
from sagan.training.state import Training

Train = Callable[..., Path]
HAS_BFLOAT16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
FILES = ("generator", "discriminator", "ema", "optimizer")


def content(run: Path) -> dict[str, Any]:
    """Every tensor and number of the newest checkpoint, except for the time it took."""
    folder = checkpoint.checkpoints(run)[-1]
    found: dict[str, Any] = {"step": checkpoint.step_of(folder)}
    for name in FILES:
        tensors = load_file(folder / f"{name}.safetensors")
        found |= {f"{name}/{key}": tensor for key, tensor in tensors.items()}
    state = json.loads((folder / "state.json").read_text())
    del state["seconds"], state["elapsed"]
    return found | {"state": state}


def assert_identical(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    differing = []
    for name, value in one.items():
        if isinstance(value, torch.Tensor):
            same = value.dtype == other[name].dtype and torch.equal(value, other[name])
        else:
            same = value == other[name]
        if not same:
            differing.append(name)
    assert differing == []


class At(Reporter):
    """Calls a function after a given step."""

    def __init__(self, step: int, action: Callable[[], object]) -> None:
        self.step = step
        self.action = action
        self.closings = 0

    def advanced(self, step: int) -> None:
        if step == self.step:
            self.action()

    def closed(self) -> None:
        self.closings += 1


@pytest.fixture
def _augment_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """p rises after every 4th update: between steps 3 and 6, with an interval under way at 3."""
    monkeypatch.setattr(AdaptiveAugment, "ADJUST_EVERY", 4)
    monkeypatch.setattr(AdaptiveAugment, "TARGET", -2.0)
    monkeypatch.setattr(adversaries, "ADAPTIVE_IMAGES", 100)


# ---------------------------------------------------------------------------------------------
# Resuming


@pytest.mark.usefixtures("no_images", "_augment_moves")
@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "float32"},
        pytest.param(
            {"precision": "bfloat16"},
            marks=pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16"),
        ),
        {"precision": "float16", "batch_size": 4},  # scales fall in the first steps
        {"loss": "wasserstein-gp", "augment": 0.3, "d_steps": 3, "accumulation": 1, "beta1": 0.5},
        {"family": "dcgan", "resolution": 64},
    ],
    ids=["float32", "bfloat16", "float16", "wasserstein-gp", "dcgan"],
)
def test_six_steps_equal_three_and_a_restart_and_three_bit_for_bit(
    settings: dict[str, Any], labeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    dataset = labeled
    if settings.get("family") == "dcgan":
        dataset = noise_set(tmp_path, num=10, size=64)
    settings = {"augment": "adaptive", "accumulation": 2, "ema_half_life": 30} | settings
    whole = train_run(tmp_path / "whole", dataset, steps=6, **settings)
    parts = train_run(tmp_path / "parts", dataset, steps=3, **settings)
    halfway = content(parts)
    assert halfway["step"] == 3
    train_run(parts, dataset, steps=6, **settings)
    final = content(parts)
    assert_identical(content(whole), final)
    # Not trivially: in the second half p moved, if it adapts, and so did the weights.
    moved = final["state"]["augment"]["p"] > halfway["state"]["augment"]["p"]
    assert moved == (settings["augment"] == "adaptive")
    assert halfway["state"]["augment"]["updates"] > 0
    assert any(
        not torch.equal(final[key], halfway[key])
        for key in final
        if key.endswith("weight.original")
    )


@pytest.mark.usefixtures("no_images")
def test_rates_that_fall_toward_the_end_are_resumed_with_the_same_bits(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    settings = {"steps": 5, "lr_decay": 0.8, "ema_half_life": 20}
    whole = train_run(tmp_path / "whole", unlabeled, **settings)
    parts = tmp_path / "parts"
    reporter = At(3, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted):
        train_run(parts, unlabeled, reporter=reporter, **settings)
    assert content(train_run(parts, unlabeled, **settings))["step"] == 5
    assert_identical(content(whole), content(parts))
    constant = train_run(tmp_path / "constant", unlabeled, **(settings | {"lr_decay": 0.0}))
    name = "generator/to_rgb.bias"
    assert not torch.equal(content(constant)[name], content(whole)[name])


def noise_set(tmp_path: Path, num: int, size: int, seed: int = 5) -> PackedDataset:
    folder = tmp_path / f"noise{seed}"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(num):
        noise = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return pack(open_source(str(folder)), tmp_path / f"packed{seed}", size)


def test_images_records_and_checkpoints_change_no_bit(
    finished_run: Path, labeled: PackedDataset, train_run: Train, tmp_path: Path,
    no_images: None,
) -> None:  # fmt: skip
    bare = train_run(tmp_path / "bare", labeled, steps=6, ema_half_life=20)
    assert_identical(content(finished_run), content(bare))


@pytest.mark.usefixtures("no_images")
def test_a_finished_run_is_not_changed(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=2)
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*.*")}
    train_run(run, unlabeled, steps=2)
    assert before == {path: path.read_bytes() for path in (run / "checkpoints").rglob("*.*")}


@pytest.mark.usefixtures("no_images")
def test_another_configuration_is_refused_and_every_difference_named(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    with pytest.raises(SaganError) as caught:
        train_run(run, unlabeled, steps=1, lr_g=0.5, flip=False, attention_d=(8,))
    message = str(caught.value)
    assert "lr_g was 0.0002 and is now 0.5" in message
    assert "flip was True and is now False" in message
    assert "attention_d was (16,) and is now (8,)" in message
    assert "\n" not in message
    assert str(run) in message
    assert directory.read_description(run).config.lr_g == 2e-4


@pytest.mark.usefixtures("no_images")
def test_other_data_is_refused(unlabeled: PackedDataset, train_run: Train, tmp_path: Path) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    with pytest.raises(SaganError, match=r"data was .* has changed"):
        train_run(run, noise_set(tmp_path, num=8, size=32), steps=1)


@pytest.mark.usefixtures("no_images")
def test_the_same_data_in_another_folder_is_accepted(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    moved = shutil.copytree(unlabeled.path, tmp_path / "moved")
    train_run(run, PackedDataset.open(moved), steps=2)
    assert content(run)["step"] == 2


@pytest.mark.usefixtures("no_images")
def test_steps_and_intervals_may_change(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    train_run(run, unlabeled, steps=2, log_every=1, checkpoint_every=1, sample_every=1)
    assert content(run)["step"] == 2
    assert directory.read_description(run).config.steps == 2


def test_a_run_that_asks_for_gigabytes_of_networks_is_refused_before_they_are_made(
    finished_run: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    found = json.loads((run / "config.json").read_text())
    found["config"] |= {"channels_g": 4096, "channels_d": 4096}
    (run / "config.json").write_text(json.dumps(found))
    with pytest.raises(SaganError, match="GiB of memory for training its networks"):
        prepare_session(str(labeled.path), run, None, {}, lambda line: None)


@pytest.mark.usefixtures("no_images")
def test_fewer_steps_than_a_run_has_done_are_refused_and_not_recorded(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=3)
    before = (run / "config.json").read_bytes()
    with pytest.raises(SaganError, match="at step 3 already, which is more than 2 steps"):
        train_run(run, unlabeled, steps=2)
    assert (run / "config.json").read_bytes() == before


@pytest.mark.usefixtures("no_images")
def test_a_resume_that_is_refused_leaves_the_run_as_it_was(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=3)
    before = (run / "config.json").read_bytes()
    with pytest.raises(SaganError, match="minutes already: give more with --minutes"):
        train_run(run, unlabeled, minutes=1e-9)
    (run / "stats.jsonl").unlink()
    (run / "stats.jsonl").mkdir()
    with pytest.raises(SaganError, match=r"cannot read '.*stats\.jsonl'"):
        train_run(run, unlabeled, steps=4)
    assert (run / "config.json").read_bytes() == before


@pytest.mark.usefixtures("no_images")
def test_a_run_that_another_process_has_begun_or_changed_meanwhile_is_not_overwritten(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tiny = {"channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 8, "steps": 9}
    tiny |= {"precision": "float32"}
    for steps in (2, 3):
        session = prepare_session(str(unlabeled.path), run, "smoke", tiny, lambda line: None)
        train_run(run, unlabeled, steps=steps)
        before = (run / "config.json").read_bytes()
        with pytest.raises(SaganError, match=r"another process has trained in '.*run' meanwhile"):
            loop.train(session, At(9, lambda: None))
        assert (run / "config.json").read_bytes() == before


@pytest.mark.usefixtures("no_images")
def test_a_resumed_run_needs_no_preset(
    unlabeled: PackedDataset, tmp_path: Path, train_run: Train, tiny_config: Callable[..., Any]
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)
    settings = tiny_config(steps=1).model_dump(exclude={"conditional"})
    session = prepare_session(str(unlabeled.path), run, None, settings, notify=lambda _: None)
    assert session.description.preset == "smoke"


@pytest.mark.usefixtures("no_images")
def test_a_resumed_run_keeps_its_settings_without_repeating_them_even_if_its_preset_has_changed(
    labeled: PackedDataset, tmp_path: Path, train_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_run(tmp_path / "run", labeled, steps=1, keep_every=1, evaluate_every=0)
    begun = directory.read_description(run).config
    changed = PRESETS["smoke"].model_copy(update={"settings": {"lr_g": 0.5}})
    monkeypatch.setitem(PRESETS, "smoke", changed)
    for preset in (None, "smoke"):
        session = prepare_session(
            str(labeled.path), run, preset, {"steps": 9}, notify=lambda _: None
        )
        assert session.description.config == begun.model_copy(update={"steps": 9})
    with pytest.raises(SaganError, match=r"lr_g was 0\.0002 and is now 0\.1"):
        prepare_session(str(labeled.path), run, None, {"lr_g": 0.1}, notify=lambda _: None)
    with pytest.raises(SaganError, match="latent_size was 8 and is now 128"):
        prepare_session(str(labeled.path), run, "cpu-32", {}, notify=lambda _: None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
@pytest.mark.usefixtures("no_images")
def test_running_out_of_memory_is_one_line_that_says_what_to_try(
    error: Exception,
    unlabeled: PackedDataset,
    tmp_path: Path,
    train_run: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(training: Training) -> None:
        raise error

    monkeypatch.setattr(Training, "advance", full)
    with pytest.raises(SaganError, match="accumulation=2") as caught:
        train_run(tmp_path / "run", unlabeled, steps=1)
    assert len(str(caught.value).splitlines()) == 1


def test_a_stopped_training_ends_without_drawing(
    unlabeled: PackedDataset, tmp_path: Path, train_run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests()
    requests.stop = signal.SIGTERM
    monkeypatch.setattr("sagan.training.loop.received_requests", lambda: nullcontext(requests))
    with pytest.raises(Interrupted):
        train_run(tmp_path / "run", unlabeled, steps=2, sample_every=1)
    assert open_model(tmp_path / "run").step == 1
    assert list((tmp_path / "run" / "samples").iterdir()) == []


def test_labels_decide_whether_a_model_is_conditional_unless_it_is_set(
    labeled: PackedDataset, unlabeled: PackedDataset, tmp_path: Path
) -> None:
    lines: list[str] = []

    def conditional(dataset: PackedDataset, **settings: Any) -> bool | None:
        source = str(dataset.path)
        session = prepare_session(source, tmp_path / "run", "smoke", settings, lines.append)
        return session.description.config.conditional

    assert conditional(labeled) is True
    assert conditional(unlabeled) is False
    assert lines == []
    assert conditional(labeled, conditional=False) is False
    assert len(lines) == 1
    assert "3 classes" in lines[0]
    with pytest.raises(SaganError, match="needs labels"):
        conditional(unlabeled, conditional=True)


def test_a_family_without_labels_ignores_those_of_the_data_and_says_so(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / label / "0.png")
    source = str(pack(open_source(str(tmp_path / "images")), tmp_path / "packed", 64).path)
    lines: list[str] = []
    settings = {"family": "dcgan", "resolution": 64}
    for preset, chosen in (("dcgan-64", {}), ("smoke", settings)):
        session = prepare_session(source, tmp_path / "run", preset, chosen, lines.append)
        assert session.description.config.conditional is False, preset
    assert len(lines) == 2


# ---------------------------------------------------------------------------------------------
# Interruption and the time limit


@pytest.mark.usefixtures("no_images")
def test_after_ctrl_c_a_resumed_run_ends_as_if_never_interrupted(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)
    reporter = At(2, lambda: signal.raise_signal(signal.SIGINT))
    run = tmp_path / "run"
    with pytest.raises(Interrupted) as caught:
        train_run(run, unlabeled, reporter=reporter, steps=5)
    assert signal.getsignal(signal.SIGINT) is before
    assert reporter.closings == 1
    assert caught.value.step == content(run)["step"] == 3  # the step in progress ends first
    train_run(run, unlabeled, steps=5)
    assert_identical(content(run), content(train_run(tmp_path / "other", unlabeled, steps=5)))


@pytest.mark.usefixtures("no_images")
def test_a_second_ctrl_c_stops_at_once_with_the_last_checkpoint_intact(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_run(run, unlabeled, reporter=At(3, twice), steps=5, checkpoint_every=2)
    assert signal.getsignal(signal.SIGINT) is before
    newest = checkpoint.latest_checkpoint(run)
    assert newest is not None
    assert checkpoint.step_of(newest) == 2


@pytest.mark.usefixtures("no_images")
def test_ctrl_c_while_a_checkpoint_is_written_leaves_no_litter(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is pressed twice."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    monkeypatch.setattr(checkpoint, "_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_run(run, unlabeled, steps=1)
    assert list((run / "checkpoints").iterdir()) == []


@pytest.mark.usefixtures("no_images")
def test_the_handler_is_restored_after_a_failure(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def fail() -> None:
        raise ZeroDivisionError

    reporter = At(1, fail)
    with pytest.raises(ZeroDivisionError):
        train_run(tmp_path / "run", unlabeled, reporter=reporter, steps=2)
    assert signal.getsignal(signal.SIGINT) is before
    assert reporter.closings == 1


@pytest.mark.usefixtures("no_images")
def test_a_passed_time_limit_ends_and_saves_after_a_whole_step(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, minutes=1e-9, steps=10**6)
    assert content(run)["step"] == 1
    assert {record["step"] for record in read_records(run)} == {0, 1}
    assert read_description(run).config.steps == 1  # complete: the same command does no more
    train_run(run, unlabeled, minutes=1e-9)
    assert content(run)["step"] == 1


# ---------------------------------------------------------------------------------------------
# Damage


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("name", [*(f"{name}.safetensors" for name in FILES), "state.json"])
def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning(
    name: str, finished_run: Path, labeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    flip_byte(run / "checkpoints" / "step-00000006" / name)
    with pytest.warns(UserWarning, match=f"step-00000006' is damaged: '{name}'") as caught:
        found = checkpoint.latest_checkpoint(run)
    assert len(caught) == 1
    assert found == run / "checkpoints" / "step-00000004"
    if name != "ema.safetensors":
        return
    with pytest.warns(UserWarning, match="step-00000006' is damaged"):
        train_run(run, labeled, steps=6, ema_half_life=20)
    assert_identical(content(finished_run), content(run))


@pytest.mark.usefixtures("no_images")
def test_a_changed_environment_that_changes_bits_is_reported_on_resuming(
    finished_run: Path, labeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    path = run / "environment.json"
    threads = torch.get_num_threads()
    elsewhere = json.loads(path.read_text()) | {"torch": "1.0", "threads": threads + 1}
    path.write_text(json.dumps(elsewhere))
    with pytest.warns(UserWarning, match="not with the bits it would have had") as caught:
        train_run(run, labeled, steps=7, ema_half_life=20)
    message = str(caught[0].message)
    assert f"torch was 1.0 and is now {torch.__version__}" in message
    assert f"threads was {threads + 1} and is now {threads}" in message
    assert "device" not in message
    assert json.loads(path.read_text())["torch"] == torch.__version__


@pytest.mark.usefixtures("no_images")
def test_another_precision_found_on_another_machine_is_reported_on_resuming(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration, `precision=auto`, is the same, so resuming is not refused."""
    monkeypatch.setattr(adversaries, "resolve_precision", lambda *_: torch.float32)
    run = train_run(tmp_path / "run", unlabeled, steps=1, precision="auto")
    monkeypatch.setattr(adversaries, "resolve_precision", lambda *_: torch.bfloat16)
    with pytest.warns(UserWarning, match="precision was float32 and is now bfloat16") as caught:
        train_run(run, unlabeled, steps=2, precision="auto")
    assert len(caught) == 1
    assert content(run)["step"] == 2
    train_run(run, unlabeled, steps=3, precision="auto")  # reported once


@pytest.mark.usefixtures("no_images")
def test_only_the_newest_checkpoints_stay(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=5, checkpoint_every=1)
    kept = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert kept == [3, 4, 5]
    assert checkpoint.KEEP == 3


@pytest.mark.usefixtures("no_images")
def test_every_nth_checkpoint_is_saved_and_stays_however_rare_others_are(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=9, checkpoint_every=100, keep_every=2)
    kept = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert kept == [2, 4, 6, 8, 9]


@pytest.mark.usefixtures("no_images")
def test_a_run_with_only_damaged_checkpoints_is_refused(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path
) -> None:
    """If it started again, its new checkpoints would be removed as the oldest."""
    run = train_run(tmp_path / "run", unlabeled, steps=6, checkpoint_every=2)
    for folder in checkpoint.checkpoints(run):
        flip_byte(folder / "ema.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SaganError, match="all checkpoints of"):
            train_run(run, unlabeled, steps=7)
    assert [checkpoint.step_of(c) for c in checkpoint.checkpoints(run)] == [2, 4, 6]


# ---------------------------------------------------------------------------------------------
# The launcher's environment


@pytest.fixture
def _fresh_accelerate() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_accelerate")
@pytest.mark.parametrize(
    ("variable", "value"),
    [("ACCELERATE_MIXED_PRECISION", "bf16"), ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")],
)
def test_precision_and_accumulation_come_from_our_configuration_not_from_accelerates(
    variable: str,
    value: str,
    unlabeled: PackedDataset,
    start_training: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`accelerate config` asks for both and exports the answers to every training it launches, so
    the training would differ from its config.json."""
    plain = start_training(unlabeled)
    plain.advance()
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv(variable, value)
    launched = start_training(unlabeled)
    launched.advance()
    for network in ("generator", "discriminator"):
        one = dict(getattr(plain.adversaries, network).named_parameters())
        other = dict(getattr(launched.adversaries, network).named_parameters())
        differing = [name for name in one if not torch.equal(one[name].grad, other[name].grad)]
        assert differing == []


def test_checkpoint_minutes_are_measured_in_minutes(
    unlabeled: PackedDataset, train_run: Train, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, no_images: None,
) -> None:  # fmt: skip
    """On a simulated clock, by which each step takes 31 seconds."""
    now = 0.0

    class Clock(Reporter):
        def advanced(self, step: int) -> None:
            nonlocal now
            now += 31

    clock = SimpleNamespace(monotonic=lambda: now, perf_counter=time.perf_counter)
    monkeypatch.setattr(loop, "time", clock)
    settings = {"steps": 7, "checkpoint_minutes": 1.0}
    run = train_run(tmp_path / "run", unlabeled, reporter=Clock(), **settings)
    assert [checkpoint.step_of(path) for path in checkpoint.checkpoints(run)] == [3, 6, 7]
