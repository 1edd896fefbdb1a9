"""Every command that takes a model takes one of the hub, and `sagan push` puts one there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagan import cli
from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.model import Model, open_model
from sagan.run.directory import create_run
from sagan.sampling import open_same_model
from sagan.training.session import Session, prepare_session

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

Sagan = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sagan(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sagan:
    """Calls `sagan ARGUMENTS`: exit status, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sagan", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (int(end.value.code or 0), *capfd.readouterr())

    return call


def test_push_says_where_the_model_is_and_the_other_commands_find_it(
    sagan: Sagan, hub: Any, model_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "card.md").write_text("# Birds\n")
    status, out, err = sagan(
        "push", model_file, "anna/birds", "--card", tmp_path / "card.md", "--license", "mit",
        "--private",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert out == (
        f"pushed to {hub.url}/anna/birds\ntry it: sagan sample hf:anna/birds --out grid.png\n"
    )
    grid = tmp_path / "grid.png"
    assert sagan("sample", "hf:anna/birds", "--num", 3, "--out", grid)[::2] == (0, "")
    assert grid.exists()
    status, out, _ = sagan("inspect", "hf:anna/birds")
    assert status == 0
    assert "hf:anna/birds" in out
    exported = tmp_path / "birds.safetensors"
    assert sagan("export", "hf:anna/birds", exported)[0] == 0
    assert open_model(exported).card == "# Birds\n"


def test_push_writes_the_files_of_the_hub_into_a_folder(
    sagan: Sagan, hub: Any, model_file: Path, tmp_path: Path
) -> None:
    status, out, err = sagan("push", model_file, "--folder", tmp_path / "birds", "--license", "mit")
    assert (status, err) == (0, "")
    assert out.startswith(f"wrote {tmp_path / 'birds'}\npush it: hf upload USER/NAME ")
    assert 'license: "mit"' in (tmp_path / "birds" / "README.md").read_text()
    assert open_model(tmp_path / "birds").sha256() == open_model(model_file).sha256()
    for arguments in (
        ["push", model_file],
        ["push", model_file, "anna/birds", "--folder", tmp_path / "other"],
        ["push", model_file, "--folder", tmp_path / "other", "--private"],
    ):
        status, out, err = sagan(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "--folder" in err
    assert not (tmp_path / "other").exists()
    assert hub.requests == []


def test_a_model_of_the_hub_can_be_opened_by_several_processes(hub: Any, model: Model) -> None:
    model.push_to_hub("anna/birds")
    assert open_same_model("hf:anna/birds").sha256() == model.sha256()


def test_a_training_starts_from_a_model_of_the_hub(
    hub: Any, model: Model, labeled: PackedDataset, tmp_path: Path
) -> None:
    model.push_to_hub("anna/birds")

    prepared = prepare_session(
        str(labeled.path), tmp_path / "run", None, {"steps": 1}, lambda _: None,
        start="hf:anna/birds",
    )  # fmt: skip
    assert prepared.description.start is not None
    assert prepared.description.start.model == "hf:anna/birds"
    assert prepared.description.start.sha256["generator"] == model.sha256()
    assert prepared.description.config.channels_g == 8


def test_a_run_directory_alone_does_not_make_a_training_ask_the_hub(
    hub: Any, model: Model, labeled: PackedDataset, tmp_path: Path
) -> None:
    model.push_to_hub("anna/birds")

    def session(start: str | None) -> Session:
        return prepare_session(
            str(labeled.path), tmp_path / "run", None, {"steps": 1}, lambda _: None, start=start
        )

    create_run(tmp_path / "run", session("hf:anna/birds").description, {})
    hub.requests.clear()
    with pytest.raises(SaganError, match="give --from hf:anna/birds again"):
        session(None)
    assert hub.requests == []
    session("hf:anna/birds")


def test_what_cannot_be_found_is_one_line_and_exit_status_2(sagan: Sagan, hub: Any) -> None:
    for arguments in (
        ("inspect", "hf:anna/trees"),
        ("sample", "hf:anna/trees", "--out", "x.png"),
        ("train", "--data", "avatars@20", "--from", "hf:anna/trees", "--dry-run"),
        ("push", "hf:anna/trees", "anna/birds"),
    ):
        status, out, err = sagan(*arguments)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert "no model 'anna/trees'" in err


DOWNLOAD = """
import sys
from sagan.errors import SaganError
from sagan.hub.download import download_model
for name in sys.argv[1:]:
    try:
        print(download_model(name).stat().st_size)
    except SaganError as error:
        print(error)
assert "torch" not in sys.modules
"""


def test_the_environment_decides_where_the_hub_and_the_cache_are(
    hub: Any, weights: bytes, tmp_path: Path
) -> None:
    """As a user has it: nothing of the hub's library is changed in this process."""
    hub.add("anna/birds", model_safetensors=weights)
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}

    def download(*names: str, **more: str) -> list[str]:
        ended = subprocess.run(
            [sys.executable, "-c", DOWNLOAD, *names],
            env=environment | more, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return ended.stdout.splitlines()

    assert download("hf:anna/birds") == [str(len(weights))]
    assert hub.tokens == {f"Bearer {hub.token}"}
    assert list((tmp_path / "home").rglob("model.safetensors"))
    found, missing = download("hf:anna/birds", "hf:anna/trees", HF_HUB_OFFLINE="1")
    assert found == str(len(weights))
    assert missing.startswith("'hf:anna/trees' is not in the cache")
