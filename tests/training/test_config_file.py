"""Configuration files: what they may say, and that a run's own file gives an equal run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan.config import Config, resolve
from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.presets import PRESETS
from sagan.run.run import Run
from sagan.summary import yaml_lines
from sagan.training.config_file import read_config_file
from sagan.training.loop import train
from sagan.training.recorder import Reporter
from sagan.training.session import Session, prepare_session
from sagan.training.time_plan import make_plan


class Silent(Reporter):
    pass


def prepared(
    file: Path, run: Path, dataset: PackedDataset, said: list[str] | None = None, **overrides: Any
) -> Session:
    notify = (said if said is not None else []).append
    recipe = read_config_file(file)
    return prepare_session(str(dataset.path), run, None, overrides, notify, recipe=recipe)


def written(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_runs_own_file_starts_an_equal_run_elsewhere(
    labeled: PackedDataset, train_run: Callable[..., Path], no_images: None, tmp_path: Path
) -> None:
    first = train_run(tmp_path / "first", labeled, steps=3, ema_half_life=20)
    session = prepared(first / "config.json", tmp_path / "other" / "second", labeled)
    train(session, Silent())
    one, other = Run(first), Run(tmp_path / "other" / "second")
    assert one.description == other.description
    files = [path.name for path in one.newest_checkpoint.iterdir() if path.suffix != ".json"]
    assert len(files) == 4
    for name in files:
        same = (one.newest_checkpoint / name).read_bytes()
        assert (other.newest_checkpoint / name).read_bytes() == same, name


def test_the_same_file_resumes_the_run_that_it_began(
    labeled: PackedDataset, train_run: Callable[..., Path], no_images: None, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", labeled, steps=2)
    again = prepared(run / "config.json", run, labeled, steps=3)
    assert again.description.config.steps == 3
    with pytest.raises(SaganError, match=r"lr_g was 0\.0002 and is now 0\.001"):
        prepared(run / "config.json", run, labeled, lr_g=1e-3)


def test_a_run_that_had_a_time_limit_gives_its_steps(
    finished_run: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    content = json.loads((finished_run / "config.json").read_text())
    content["config"] |= {"minutes": 5.0, "steps": 777}
    file = written(tmp_path, json.dumps(content), "config.json")
    config = prepared(file, tmp_path / "run", labeled).description.config
    assert (config.steps, config.minutes) == (777, 0)
    assert prepared(file, tmp_path / "run", labeled, minutes=9.0).description.config.minutes == 9


def test_a_run_of_a_preset_that_is_gone_or_of_a_model_can_be_repeated(
    finished_run: Path, labeled: PackedDataset, tmp_path: Path
) -> None:
    content = json.loads((finished_run / "config.json").read_text())
    content |= {"preset": "from cifar10-32", "from": {"model": "cifar10-32"}}
    file, said = written(tmp_path, json.dumps(content), "config.json"), []
    session = prepared(file, tmp_path / "run", labeled, said)
    assert session.description.config == Run(finished_run).description.config
    assert any("started from 'cifar10-32': give it with --from" in line for line in said)


def test_yaml_and_json_may_change_a_few_settings_of_a_preset(tmp_path: Path) -> None:
    expected = {"lr_g": 1e-4, "attention_g": (8, 16), "attention_d": (16,), "flip": False}
    text = "preset: smoke\nlr_g: 1e-4  # not a number in YAML 1.1\nattention_g: 8,16\n"
    yaml_file = written(tmp_path, text + "attention_d: 16\nflip: no\n")
    as_json = {"preset": "smoke", **expected}
    json_file = written(tmp_path, json.dumps(as_json), "recipe.json")
    for file in (yaml_file, json_file):
        recipe = read_config_file(file)
        assert recipe.preset == "smoke"
        assert not recipe.whole
        assert resolve("smoke", recipe.settings) == resolve("smoke", expected)


def test_the_command_line_comes_before_the_file(labeled: PackedDataset, tmp_path: Path) -> None:
    file = written(tmp_path, "preset: smoke\nlr_g: 0.001\nlr_d: 0.002\nminutes: 3\n")
    config = prepared(file, tmp_path / "run", labeled, lr_g=0.01, steps=4).description.config
    assert (config.lr_g, config.lr_d, config.steps, config.minutes) == (0.01, 0.002, 4, 0)


@pytest.mark.usefixtures("no_images")
def test_a_time_limit_in_a_whole_file_decides_the_steps_and_a_resumed_run_keeps_them(
    labeled: PackedDataset, tiny_config: Callable[..., Config], tmp_path: Path
) -> None:
    run, config = tmp_path / "run", tiny_config(minutes=1e-3, steps=500_000, evaluate_every=0)
    file = written(tmp_path, "\n".join(yaml_lines(config, "smoke")))
    planned = make_plan(prepared(file, run, labeled), lambda line: None)
    assert planned.description.config.steps < 500_000
    assert planned.description.config.log_every == config.log_every
    train(planned, Silent())
    done = Run(run).description.config.steps
    again = prepared(file, run, labeled)
    assert (again.description.config.steps, again.limit_changed) == (done, False)
    for given, expected in [
        ({"steps": done + 1}, (done + 1, 0)), ({"minutes": 0.0}, (500_000, 0)),
    ]:  # fmt: skip
        asked = prepared(file, run, labeled, **given).description.config
        assert (asked.steps, asked.minutes) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_written_as_yaml_and_read_again(preset: str, tmp_path: Path) -> None:
    config = resolve(preset)
    recipe = read_config_file(written(tmp_path, "\n".join(yaml_lines(config, preset))))
    assert recipe.whole
    assert recipe.preset == preset
    assert Config.model_validate(recipe.settings) == config


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "", "has no settings"),
        ("a.yaml", "- a\n- b\n", "has no settings"),
        ("a.yaml", "lr_g: [1\n", "not YAML: .* in line 2"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "not YAML: could not determine"),
        ("a.yaml", "steps: 5\nminutes: 3\n", "decides the number of steps: give one of the two"),
        ("a.yaml", "lr: 1e-4\n", r"a\.yaml': unknown setting 'lr': did you mean lr_"),
        ("a.yaml", "1: 2\n", "unknown setting 1"),
        ("a.yaml", "[1]: 2\n", "not YAML"),
        ("a.yaml", "preset: [1]\n", "is not a name"),
        ("a.yaml", "a: \x00\n", "not YAML"),
        ("a.json", "{", "not JSON: .* in line 1"),
        ("a.json", "[" * 100_000, "not JSON"),
        ("a.yaml", "[" * 100_000, "not YAML"),
        ("a.json", '{"config": 3}', "not a run's configuration"),
        ("a.json", '{"config": {"steps": "many"}}', "setting 'steps' cannot be 'many'"),
        ("a.json", '{"config": {}, "preset": 3}', "not a run's configuration"),
        ("a.toml", "", "call it NAME.yaml or NAME.json"),
    ],
)
def test_files_that_are_not_configurations_are_refused_in_one_line(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(SaganError, match=words) as error:
        read_config_file(written(tmp_path, text, name))
    assert "\n" not in str(error.value)


def test_aliases_that_would_grow_without_end_are_harmless(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(SaganError, match="unknown setting 'a0'"):
        read_config_file(written(tmp_path, "\n".join(lines)))
    text = "\n".join(lines).replace("a0:", "lr_g:", 1).replace("a29: &a29", "lr_d:")
    with pytest.raises(SaganError, match="unknown setting 'a1'"):
        read_config_file(written(tmp_path, text))
