"""sagan study in a shell: every study at its smallest, and studies that are killed."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

STEPS = 9  # more than the points of a curve, and not a multiple of them
SMALLEST = [
    "--preset", "smoke", "--steps", STEPS,
    "--set", "channels_g=8", "--set", "channels_d=8", "--set", "batch_size=8",
]  # fmt: skip
VARIANTS = {
    "attention": ["attention-16", "attention-8", "none", "residual-16"],
    "parts": ["attention-16", "none", "residual-16"],
    "spectral-norm": ["both", "d", "none"],
    "discriminator": ["attention", "none", "pixels", "supervised", "untrained"],
}
JOBS = {"attention": 1, "parts": 1, "spectral-norm": 1, "discriminator": 2}


def found(study: Path) -> dict[str, dict[str, Any]]:
    """Return every result, without what differs between executions."""
    contents = {path.stem: json.loads(path.read_text()) for path in study.glob("results/*.json")}
    for content in contents.values():
        del content["cost"]
    return contents


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take as long as the tiny runs that they show."""
    monkeypatch.setattr("sagan.studies.analysis.report.drawn_figures", lambda table: ())


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.usefixtures("no_images")
def test_a_whole_study_leaves_its_results_and_report(sagan, splits, tmp_path, name) -> None:
    out = tmp_path / name
    data = "avatars:toon-head,micah@100" if name == "parts" else splits
    command = ["study", name, "--data", data, "--out", out, *SMALLEST]
    result = sagan(*command, "--seeds", 1, "--jobs", JOBS[name])
    assert result.status == 0, result.err
    results = found(out)
    assert sorted(results) == [f"{variant}-seed0" for variant in VARIANTS[name]]
    report = (out / "report.md").read_text()
    for variant in VARIANTS[name]:
        assert f"| {variant} |" in report
    assert f"after {STEPS} steps of 8 images" in report
    assert f"sagan study {name} --data" in report
    assert (out / ".gitignore").read_text().splitlines()[0] == "/runs/"
    check = {
        "attention": check_attention, "parts": check_parts, "spectral-norm": check_spectral_norm,
        "discriminator": check_discriminator,
    }  # fmt: skip
    check[name](results, out)


def check_attention(results: dict[str, Any], out: Path) -> None:
    with_attention, without = results["attention-16-seed0"], results["none-seed0"]
    control = results["residual-16-seed0"]
    assert with_attention["numbers"].keys() >= {
        "KD-EfficientNet", "FD-EfficientNet", "precision", "recall",
        "gamma/generator.attention_16", "attention/discriminator.attention_16/distance",
    }  # fmt: skip
    assert not any(key.startswith("gamma/") for key in without["numbers"])
    for cut in ("without attention", "with attention nearby only"):
        assert f"KD-EfficientNet {cut}" in with_attention["numbers"]
        assert f"attention-16 over itself {cut}" in (out / "report.md").read_text()
    for network in ("generator", "discriminator"):
        attention = with_attention["parameters"][network] - without["parameters"][network]
        residual = control["parameters"][network] - without["parameters"][network]
        assert attention > 0
        assert residual == pytest.approx(attention, rel=0.15)
    assert (out / "runs" / "none-seed0" / "stats.jsonl").is_file()


def check_parts(results: dict[str, Any], out: Path) -> None:
    for result in results.values():
        numbers = result["numbers"]
        kinds = [key.removesuffix("/chance") for key in numbers if key.endswith("/chance")]
        beyond = [
            (numbers[kind] - numbers[f"{kind}/chance"]) / (1 - numbers[f"{kind}/chance"])
            for kind in kinds
        ]
        assert numbers["agreement"] == pytest.approx(np.mean(beyond))
        assert len(result["blocks"]["agreement"]) == 10
    report = (out / "report.md").read_text()
    assert "agree more often than no attention" in report
    assert "draws better images than no attention" in report
    assert "Delta is 0.02 in agreement and 0.05 of the other variant's KD-EfficientNet" in report
    of_attention = results["attention-16-seed0"]["numbers"]
    assert of_attention.keys() >= {
        "agreement without attention", "KD-EfficientNet without attention",
        "D's attention on the object", "D's attention on the object if it were uniform",
    }  # fmt: skip
    assert "attention-16 over itself without attention" in report


def check_spectral_norm(results: dict[str, Any], out: Path) -> None:
    for name, result in results.items():
        steps = [step for step, _ in result["curves"]["KD-EfficientNet"]]
        assert steps == [0, 2, 4, 6, 8, 9], name
        assert result["numbers"]["failed"] in (0, 1)
        assert max(norm for _, norm in result["curves"]["gradient/discriminator"]) > 0
    sigma = {
        name: [curve[-1][1] for key, curve in result["curves"].items() if key.startswith("sigma/")]
        for name, result in results.items()
    }
    assert len(sigma["both-seed0"]) == len(sigma["none-seed0"]) > 20
    assert max(sigma["both-seed0"]) < 1.2
    last = out / "runs" / "none-seed0" / "checkpoints" / f"step-{STEPS:08d}"
    weight = load_file(last / "discriminator.safetensors")["blocks.0.conv1.weight"]
    measured = results["none-seed0"]["curves"]["sigma/discriminator/blocks.0.conv1"][-1]
    assert measured == [
        STEPS,
        pytest.approx(np.linalg.norm(weight.reshape(len(weight), -1), 2), rel=1e-4),
    ]
    assert "| discriminator/blocks.0.conv1 |" in (out / "report.md").read_text()


def check_discriminator(results: dict[str, Any], out: Path) -> None:
    for name, result in results.items():
        numbers = result["numbers"]
        assert 0 <= numbers["accuracy, low"] <= numbers["accuracy"] <= numbers["accuracy, high"]
        assert result["config"]["conditional"] is False
        learned = name.startswith(("attention", "none"))
        assert (out / "runs" / name / "config.json").is_file() is learned
    assert results["pixels-seed0"]["numbers"]["features"] == 32 * 32 * 3
    assert results["pixels-seed0"]["parameters"] == {}


@pytest.mark.usefixtures("no_images", "no_figures")
def test_another_seed_is_another_run(sagan, splits, tmp_path) -> None:
    out = tmp_path / "study"
    command = ["study", "attention", "--data", splits, "--out", out, *SMALLEST]
    result = sagan(*command, "--seeds", 2, "--jobs", 1, "--variants", "attention-16")
    assert result.status == 0, result.err
    results = found(out)
    assert sorted(results) == ["attention-16-seed0", "attention-16-seed1"]
    assert results["attention-16-seed0"]["numbers"] != results["attention-16-seed1"]["numbers"]


# `sagan`, killed within a run after its first checkpoint, however fast the machine is.
KILLED_IN_A_RUN = """
import os, signal, sys
from pathlib import Path
from sagan.cli.app import main
from sagan.run import checkpoint
from sagan.training import measurements

measurements.MEASURED_IMAGES = 2  # as in the process of the tests
checkpoints, save = Path(sys.argv.pop(1)) / "checkpoints", checkpoint.save_checkpoint

def save_and_be_killed(*arguments, **named):
    saved = save(*arguments, **named)
    if list(checkpoints.glob("step-*")):
        os.kill(os.getpid(), signal.SIGKILL)
    return saved

checkpoint.save_checkpoint = save_and_be_killed
main()
"""


@pytest.mark.parametrize(
    ("name", "done", "killed"),
    [("attention", ["none-seed0"], "attention-16-seed0"), ("spectral-norm", [], "both-seed0")],
)
@pytest.mark.usefixtures("no_images", "no_figures")
def test_a_study_that_is_killed_and_resumed_ends_with_the_same_results(
    sagan, splits, tmp_path, name, done, killed, start_python
) -> None:
    variants = ",".join(run.removesuffix("-seed0") for run in [*done, killed])

    def command(out: Path) -> list[object]:
        return [
            "study", name, "--data", splits, "--out", out, *SMALLEST, "--seeds", 1,
            "--variants", variants, "--jobs", 1,
        ]  # fmt: skip

    out = tmp_path / "killed"
    process = start_python(["-c", KILLED_IN_A_RUN, out / "runs" / killed, *command(out)])
    output = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    assert list(found(out)) == done
    result = sagan(*command(out))
    assert result.status == 0, result.err
    assert f"1 run of {STEPS} steps" in result.out
    assert sagan(*command(tmp_path / "whole")).status == 0
    assert found(out) == found(tmp_path / "whole")
    whole = (tmp_path / "whole" / "summary.json").read_text()
    assert (out / "summary.json").read_text() == whole


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--steps", 5, "--budget-minutes", 1], "both set the length of runs: give one"),
        (["--preset", "smokey"], "did you mean smoke?"),
        (["--variants", "nun"], "has no variant 'nun'"),
        (["--set", "conditional=true"], "in this study conditional is False"),
        (["--plan", "--seeds", 3], "--plan decides the number of seeds"),
        (["--delta", 0.1], "--delta is laid down by --plan"),
        (["--plan", "--delta", -1], "--delta -1 is not an effect"),
        (["--plan", "--delta", "accuracy=much"], "--delta accuracy=much is not an effect"),
        (["--plan", "--delta", "FID=0.1"], "has no claim about 'FID': give --delta for accuracy,"),
        (["--set", "attention_d=8"], "every variant has its own attention_d"),
        (["--budget-minutes", "inf"], "--budget-minutes inf is not a number of minutes"),
    ],
)
def test_mistakes_are_reported_in_one_line(sagan, splits, tmp_path, arguments, what) -> None:
    result = sagan("study", "discriminator", "--data", splits, "--out", tmp_path / "s", *arguments)
    assert result.status == 2
    assert what in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "parts needs faces, as --data avatars, and '"),
        ("avatars:micah@100", "needs 100 faces in two or more styles"),
        ("avatars:toon-head,micah@40", "has 40 in 2"),
        ("avatars:lorelei,notionists@100", "none can be compared in the styles of"),
    ],
)
def test_the_study_parts_refuses_what_it_cannot_compare(
    sagan, splits, tmp_path, data, what
) -> None:
    result = sagan("study", "parts", "--data", data or splits, "--out", tmp_path / "s", *SMALLEST)
    assert result.status == 2
    assert what in result.err.splitlines()[-1]


def test_the_study_discriminator_refuses_images_without_labels(sagan, pictures, tmp_path) -> None:
    result = sagan("study", "discriminator", "--data", pictures, "--out", tmp_path / "s", *SMALLEST)
    assert result.status == 2
    assert len(result.err.splitlines()) == 1
