"""Two processes that `accelerate launch` starts do what one does with two micro-batches."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sagan.data import PackedDataset
from sagan.images.pixels import to_float
from sagan.run import checkpoint, directory
from sagan.training.state import Training

# Run by each process, with the packed set, the run directory and a folder for results.
SCRIPT = """
import copy
import sys
from pathlib import Path

import torch

from sagan.nn.augment import AdaptiveAugment
from sagan.nn.spectral_norm import normalized_once
from sagan.data import PackedDataset
from sagan.runtime.processes import make_accelerator
from sagan.training import loop, recorder
from sagan.training.state import Training
from sagan.training.session import prepare_session

source, run, results = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
AdaptiveAugment.ADJUST_EVERY = 2
AdaptiveAugment.TARGET = -2.0  # p rises, whatever D says
recorder.draw_images = lambda *_: {}
settings = SETTINGS
session = prepare_session(source, run, "smoke", settings, notify=lambda _: None)
training = Training(session.description, session.dataset, make_accelerator())
adversaries = training.adversaries
found, before_update = {}, []


def grads(network):
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def keep_images(_, inputs):
    found.setdefault("images", inputs[0].clone())


def keep_latents(_, inputs):
    found["latents"], found["labels"] = inputs[0].clone(), inputs[1].clone()


def at_d(*_):
    found.setdefault("gradients_d", grads(adversaries.discriminator))
    before_update.append(copy.deepcopy(adversaries.generator))


def at_g(*_):
    if "gradients_g" in found:
        return
    found["gradients_g"] = grads(adversaries.generator)
    # The gradients this process would have alone: from a copy, by autograd.grad, which DDP misses.
    generator, discriminator = before_update[-1], adversaries.discriminator
    with normalized_once(generator, advance=True), normalized_once(discriminator, advance=False):
        images = generator(found["latents"], found["labels"])
        logits = discriminator(images, found["labels"])
    names, parameters = zip(*generator.named_parameters())
    own = torch.autograd.grad(-logits.mean(), parameters)
    found["own_gradients_g"] = dict(zip(names, own))


def keep_statistics(self, share=Training._share_running_statistics):
    if self is training:
        buffers = adversaries.generator.named_buffers()
        found["own"] = {name: b.clone() for name, b in buffers if "running" in name}
    share(self)


Training._share_running_statistics = keep_statistics
adversaries.discriminator.register_forward_pre_hook(keep_images)
adversaries.generator.register_forward_pre_hook(keep_latents)
adversaries.optimizer_d.register_step_pre_hook(at_d)
adversaries.optimizer_g.register_step_pre_hook(at_g)
training.advance()
found["first_d"] = {k: v.clone() for k, v in adversaries.discriminator.state_dict().items()}
for _ in range(3):
    result, loss_g = training.advance()
found["losses"] = torch.stack([result.loss, loss_g])
for name in ("generator", "discriminator"):
    found[name] = getattr(adversaries, name).state_dict()
found["ema"] = training.average.generator.state_dict()
found["p"] = adversaries.strength.p

for name, more in VARIANTS.items():
    other = prepare_session(source, run, "smoke", settings | more, notify=lambda _: None)
    variant = Training(other.description, other.dataset, training.accelerator)


    def at_variant(*_):
        found.setdefault(name, grads(variant.adversaries.discriminator))

    variant.adversaries.optimizer_d.register_step_pre_hook(at_variant)
    variant.advance()

other = prepare_session(source, run, "smoke", settings | HALF, notify=lambda _: None)
half = Training(other.description, other.dataset, training.accelerator)
scales = {"generator": half.adversaries.guard_g.loss_scale}
scales["discriminator"] = half.adversaries.guard_d.loss_scale
for scale in scales.values():
    scale.factor.fill_(2.0**6)
half.advance()
networks = [getattr(half.adversaries, name) for name in scales]
parameters = [p for network in networks for p in network.parameters()]
before = [p.detach().clone() for p in parameters]
if training.accelerator.process_index == 0:
    for network in networks:
        next(network.parameters()).register_hook(lambda gradient: gradient * float("inf"))
half.advance()
half.check_finite()
found["scales"] = {name: float(scale.factor) for name, scale in scales.items()}
found["unchanged"] = all(torch.equal(*both) for both in zip(before, parameters))
torch.save(found, results / f"{training.accelerator.process_index}.pt")


class Silent(recorder.Reporter):
    pass


loop.train(session, Silent())
"""

# `accelerate launch`, whose child is this process, which has imported torch already.
LAUNCH = """
import os, runpy, sys
from types import SimpleNamespace
from accelerate.commands import launch

def start(command, env):
    os.environ.clear()
    os.environ.update(env)
    sys.argv = command[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
    return SimpleNamespace(wait=lambda: None, returncode=0)

launch.subprocess = SimpleNamespace(Popen=start)
launch.main()
"""

SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 8, "precision": "float32",
    "augment": "adaptive", "ema_half_life": 30, "steps": 4, "d_steps": 2,
}  # fmt: skip

HALF = {"precision": "float16", "accumulation": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "micro-batches": {"accumulation": 2},
    "gradient penalty": {"loss": "wasserstein-gp", "augment": 0.3},
    "class loss": {"family": "projected", "class_loss": 0.5},
}

Results = list[dict[str, Any]]
Ran = tuple[list[str], Results]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment for a child process, without the user's `accelerate config`."""
    inherited = {key: value for key, value in os.environ.items() if "ACCELERATE" not in key}
    return inherited | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
        "HF_HOME": str(folder / "huggingface"),
        **more,
    }


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launch(source: Path, folder: Path, start_python: Callable[..., Any]) -> Ran:
    """Run the script in two processes, and return the output and the results of each, by rank.

    `accelerate launch --cpu --num_processes 2` starts one process, and the other one only under
    mpirun (huggingface/accelerate issue 2741), so we start both, numbered as by mpirun.
    """
    script = folder / "script.py"
    script.write_text(
        SCRIPT.replace("SETTINGS", repr(SETTINGS))
        .replace("VARIANTS", repr(VARIANTS))
        .replace("HALF", repr(HALF))
    )
    command = [
        "-c", LAUNCH, "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_ip", "127.0.0.1", "--main_process_port", free_port(), str(script),
        str(source), str(folder / "run"), str(folder),
    ]  # fmt: skip
    children = []
    for rank in ("0", "1"):
        numbered = environment(folder, RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2")
        children.append(start_python(command, numbered))
    logs = ["".join(child.communicate(timeout=300)) for child in children]
    assert [child.returncode for child in children] == [0, 0], "\n".join(logs)
    return logs, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def ran(labeled: PackedDataset, folder: Path, start_python: Callable[..., Any]) -> Ran:
    return launch(labeled.path, folder, start_python)


@pytest.fixture(scope="module")
def ranks(ran: Ran) -> Results:
    return ran[1]


@pytest.fixture(scope="module")
def alone(labeled: PackedDataset, start_training: Callable[..., Training]) -> Training:
    """One process that does the work of both, before its first step."""
    return start_training(labeled, accumulation=2, **SETTINGS)


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], share: float) -> None:
    """Each tensor differs by at most `share` of the largest entry of the expected one."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        distance = (actual[name] - tensor).abs().max()
        assert distance <= share * tensor.abs().max() + 1e-8, f"{name}: {distance}"


def rows_of(images: Tensor, dataset: PackedDataset) -> list[int]:
    """The rows of the data set that the first half of (2B, 3, S, S) shows, mirrored or not."""
    originals = to_float(torch.from_numpy(np.array(dataset.images)))
    either = torch.cat([originals, originals.flip(3)])
    return [
        int((image == either).flatten(1).all(1).nonzero()) % len(originals)
        for image in images[: len(images) // 2]
    ]


def test_both_replicas_stay_bit_equal(ranks: Results) -> None:
    """In weights, u and v and running statistics, of both networks and the average: the next step
    depends on nothing that a checkpoint does not contain."""
    for network in ("generator", "discriminator", "ema"):
        one, other = (found[network] for found in ranks)
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert ranks[0]["p"] == ranks[1]["p"] > 0


def test_overflow_in_one_process_drops_the_update_and_halves_the_scale_in_all(
    ranks: Results,
) -> None:
    for found in ranks:
        assert found["unchanged"]
        # D was updated twice, G once.
        assert found["scales"] == {"discriminator": 2.0**4, "generator": 2.0**5}


def test_running_statistics_are_the_mean_over_processes(ranks: Results) -> None:
    one, other = (found["own"] for found in ranks)
    assert len(one) > 4
    for name, own in one.items():
        assert not torch.equal(own, other[name])
        torch.testing.assert_close(ranks[0]["generator"][name], (own + other[name]) / 2)


def test_each_process_gets_its_own_share_of_the_batch(
    ranks: Results, alone: Training, labeled: PackedDataset
) -> None:
    one, other = (rows_of(found["images"], labeled) for found in ranks)
    batch = alone.order.indices(0).tolist()
    assert len(set(batch)) == 8
    assert one == batch[:4]
    assert other == batch[4:]
    fakes = [found["images"][4:] for found in ranks]
    assert not torch.equal(*fakes)


def test_the_first_updates_are_those_of_one_process_with_two_micro_batches(
    ranks: Results, alone: Training
) -> None:
    """To rounding: gradients are summed in another order."""
    gradients: dict[str, dict[str, Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            network = getattr(alone.adversaries, name)
            found = {key: p.grad.clone() for key, p in network.named_parameters()}
            gradients.setdefault(name, found)

        return hook

    alone.adversaries.optimizer_d.register_step_pre_hook(keep("discriminator"))
    alone.adversaries.optimizer_g.register_step_pre_hook(keep("generator"))
    alone.advance()
    for found in ranks:
        assert_close(found["gradients_d"], gradients["discriminator"], share=1e-5)
        # G's follow two updates of D by Adam, which amplifies small differences.
        assert_close(found["gradients_g"], gradients["generator"], share=1e-2)
    state = alone.adversaries.discriminator.state_dict()
    assert_close(ranks[0]["first_d"], state, share=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_micro_batches_penalty_and_class_loss_are_averaged_over_processes_too(
    variant: str,
    ranks: Results,
    labeled: PackedDataset,
    start_training: Callable[..., Training],
) -> None:
    settings = SETTINGS | VARIANTS[variant]
    settings["accumulation"] = 2 * settings.get("accumulation", 1)
    training = start_training(labeled, **settings)
    found: dict[str, Tensor] = {}

    def keep(*_: object) -> None:
        for name, parameter in training.adversaries.discriminator.named_parameters():
            found.setdefault(name, parameter.grad.clone())

    training.adversaries.optimizer_d.register_step_pre_hook(keep)
    training.advance()
    for rank in ranks:
        assert_close(rank[variant], found, share=1e-4)


def test_the_generators_gradient_is_the_mean_of_each_processes_own(
    ranks: Results,
) -> None:
    one, other = ranks
    assert all(
        torch.equal(one["gradients_g"][name], other["gradients_g"][name])
        for name in one["gradients_g"]
    )
    mean = {
        name: (gradient + other["own_gradients_g"][name]) / 2
        for name, gradient in one["own_gradients_g"].items()
    }
    assert_close(one["gradients_g"], mean, share=1e-5)
    name = "linear.parametrizations.weight.original"
    assert not torch.equal(one["own_gradients_g"][name], other["own_gradients_g"][name])


def test_a_checkpoint_of_two_processes_resumes_in_one(
    ranks: Results, folder: Path, labeled: PackedDataset, train_run: Callable[..., Path],
    no_images: None,
) -> None:  # fmt: skip
    run = folder / "run"
    newest = checkpoint.latest_checkpoint(run)
    assert newest is not None
    assert checkpoint.step_of(newest) == 4
    for file, network in (("generator", "generator"), ("ema", "ema")):
        saved = checkpoint.read_checkpoint(newest, file)
        for name, tensor in saved.items():
            # A second training from the same seed, with the same bits.
            assert torch.equal(tensor, ranks[0][network][name]), name
    settings = SETTINGS | {"steps": 6, "checkpoint_every": 25, "sample_every": 25, "log_every": 5}
    with pytest.warns(UserWarning, match="processes was 2 and is now 1"):
        train_run(run, labeled, **settings)
    assert [checkpoint.step_of(path) for path in checkpoint.checkpoints(run)] == [4, 6]


def test_recorded_losses_are_the_means_over_processes(ranks: Results, folder: Path) -> None:
    one, other = (found["losses"] for found in ranks)
    assert not torch.equal(one, other)
    record = json.loads((folder / "run" / "stats.jsonl").read_text().splitlines()[1])
    assert record["step"] == 4
    found = torch.tensor([record["loss/d"], record["loss/g"]])
    torch.testing.assert_close(found, (one + other) / 2)


def test_no_gradient_is_copied_to_another_memory_layout(ran: Ran) -> None:
    """Each copy would cost time at every update; torch warns of it."""
    for log in ran[0]:
        assert "strides" not in log


def test_processes_with_different_settings_all_refuse(
    labeled: PackedDataset,
    tmp_path: Path,
    start_processes: Callable[..., Any],
    end_of: Callable[..., Any],
) -> None:
    """As when the commands on two machines differ."""
    commands = [
        ["-m", "sagan", "train", "--data", str(labeled.path), "--out", str(tmp_path / "run"),
         "--preset", "smoke", "--set", f"seed={rank}"]
        for rank in (0, 1)
    ]  # fmt: skip
    for child in start_processes(commands, CUDA_VISIBLE_DEVICES=""):
        end = end_of(child)
        assert end.status == 2, end.err
        assert len(end.errors) == 1
        assert "seed is 0 on rank 0 (" in end.err
        assert ") but 1 on rank 1 (" in end.err
        assert "start all with the same command" in end.err
    assert not directory.is_run(tmp_path / "run")


# `sagan` that does not wait as long for files of other machines.
IMPATIENT = """
from sagan.cli import main
from sagan.training import agreement
agreement.RETRY_SECONDS = 0.5
main()
"""


@pytest.mark.parametrize("holder", [0, 1])
def test_a_run_that_not_all_processes_see_is_neither_resumed_nor_started_again(
    holder: int,
    finished_run: Path,
    labeled: PackedDataset,
    tmp_path: Path,
    start_processes: Callable[..., Any],
    end_of: Callable[..., Any],
) -> None:
    """As on two machines without a shared disk, when either is the first."""
    shutil.copytree(finished_run, tmp_path / str(holder))
    before = sorted(tmp_path.rglob("*"))
    commands = [
        ["-c", IMPATIENT, "train", "--data", str(labeled.path), "--out", str(tmp_path / str(rank))]
        for rank in (0, 1)
    ]
    for child in start_processes(commands, CUDA_VISIBLE_DEVICES=""):
        end = end_of(child)
        assert end.status == 2, end.err
        assert len(end.errors) == 1
        assert "is not the same folder in all processes: what rank 0 (" in end.err
        assert "give an --out on a disk that all machines share" in end.err
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_processes_that_torchrun_starts_on_a_cpu_form_one_group(
    tmp_path: Path, start_python: Callable[..., Any], end_of: Callable[..., Any]
) -> None:
    """Otherwise each would train by itself, in the same run directory."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from sagan.runtime.processes import make_accelerator\n"
        "accelerator = make_accelerator()\n"
        # In one write: both processes write to one pipe.
        "os.write(1, f'processes: {accelerator.num_processes}\\n'.encode())\n"
        "accelerator.end_training()\n"
    )
    command = [
        "-m", "torch.distributed.run", "--nproc_per_node", "2",
        "--master_addr", "127.0.0.1", "--master_port", free_port(), str(script),
    ]  # fmt: skip
    end = end_of(start_python(command, environment(tmp_path, CUDA_VISIBLE_DEVICES="")))
    assert end.status == 0, end.err
    assert end.out.count("processes: 2") == 2, end.out
