"""hf:USER/NAME is a model on the hub: one checked file, from the cache without network."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from sagan import load_discriminator, load_generator
from sagan.errors import SaganError
from sagan.hub import download
from sagan.hub.names import HubName, dataset_of, parse_hub_name
from sagan.model import open_model


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message


def test_a_model_is_loaded_by_its_name_on_the_hub(
    hub: Any, weights: bytes, model_file: Path
) -> None:
    hub.add("anna/birds", model_safetensors=weights)
    images = load_generator("hf:anna/birds").sample(2, labels=["cat", "owl"])
    assert np.array_equal(images, load_generator(model_file).sample(2, labels=[0, 2]))
    load_discriminator("hf:anna/birds")
    assert open_model("hf:anna/birds").origin == "hf:anna/birds"
    files = {request.rpartition("/")[2] for request in hub.requests}
    assert files == {"model.safetensors"}
    assert len([request for request in hub.requests if request.startswith("GET")]) == 1


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: Any, weights: bytes, tmp_path: Path) -> None:
    repo = hub.add("anna/birds", model_safetensors=b"newer")
    repo.revisions["v1/old"] = {"model.safetensors": weights}
    commit = repo.commit("v1/old")
    assert open_model("hf:anna/birds@v1/old").step == 6
    assert open_model(f"hf:anna/birds@{commit}").step == 6
    before = len(hub.requests)
    assert open_model(f"hf:anna/birds@{commit}").step == 6  # which never changes
    assert len(hub.requests) == before
    assert "not a sagan model file" in refusal(lambda: open_model("hf:anna/birds"))


def test_a_newer_version_is_downloaded(hub: Any, weights: bytes) -> None:
    repo = hub.add("anna/birds", model_safetensors=b"older")
    refusal(lambda: open_model("hf:anna/birds"))
    repo.revisions["main"] = {"model.safetensors": weights}
    assert open_model("hf:anna/birds").step == 6


def set_endpoint(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.parametrize("how", ["down", "unreachable", "no hub", "offline"])
def test_without_the_hub_a_cached_copy_works_and_nothing_else(
    how: str, hub: Any, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("anna/birds", model_safetensors=weights)
    open_model("hf:anna/birds")
    if how == "down":
        hub.down = True
    elif how == "unreachable":
        set_endpoint("http://127.0.0.1:9", monkeypatch)
    elif how == "no hub":  # a page that asks to sign in to a network
        hub.headers = {"X-Repo-Commit": ""}
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if how == "offline":  # which the user has asked for, so there is no warning
        assert open_model("hf:anna/birds").step == 6
    else:
        with pytest.warns(UserWarning, match="using the cached 'hf:anna/birds'"):
            assert open_model("hf:anna/birds").step == 6
    hub.add("anna/trees", model_safetensors=weights)
    message = refusal(lambda: open_model("hf:anna/trees"))
    assert "'hf:anna/trees'" in message
    assert "cache" in message
    assert "give a model file" in message
    assert "HF_HUB_OFFLINE" in message or "connect to the network" in message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "no model 'anna/birds'"),
        ((401, ""), "no model 'anna/birds'"),
        ((403, "GatedRepo"), "gated"),
        ((404, "RevisionNotFound"), "no revision 'main'"),
        ((404, "EntryNotFound"), "no model.safetensors"),
        ((403, ""), "403"),
    ],
)
def test_what_the_hub_refuses_is_one_line_with_the_reason(
    error: tuple[int, str] | None, said: str, hub: Any
) -> None:
    if error is not None:
        hub.add("anna/birds").error = error
    assert said in refusal(lambda: open_model("hf:anna/birds"))


def test_only_the_model_file_is_read_whatever_else_is_there(hub: Any, weights: bytes) -> None:
    hub.add("anna/birds", pytorch_bin=b"\x80\x04.", config_json=b"{", README_md=b"---\n")
    assert "no model.safetensors" in refusal(lambda: load_generator("hf:anna/birds"))
    hub.repos["anna/birds"].revisions["main"]["model.safetensors"] = weights
    load_generator("hf:anna/birds")
    assert {request.rpartition("/")[2] for request in hub.requests} == {"model.safetensors"}


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 100, b"{}" * 50])
def test_a_file_that_is_not_a_model_is_refused_under_its_name(content: bytes, hub: Any) -> None:
    hub.add("anna/birds", model_safetensors=content)
    message = refusal(lambda: load_generator("hf:anna/birds"))
    assert message.startswith("'hf:anna/birds' is not a sagan model file")


def test_a_truncated_model_is_refused(hub: Any, weights: bytes) -> None:
    hub.add("anna/birds", model_safetensors=weights[:-100])
    assert "not a sagan model file" in refusal(lambda: load_generator("hf:anna/birds"))


def test_a_file_that_is_too_large_is_not_downloaded(
    hub: Any, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("anna/birds", model_safetensors=weights)
    hub.headers = {"X-Linked-Size": str(2**40)}
    assert "larger than 4 GiB" in refusal(lambda: load_generator("hf:anna/birds"))
    hub.headers = {"Content-Length": ""}  # a size that is not known may be any
    assert "in its place" in refusal(lambda: load_generator("hf:anna/birds"))
    assert not any(request.startswith("GET") for request in hub.requests)
    hub.headers = {}
    open_model("hf:anna/birds")
    monkeypatch.setattr(download, "MAX_BYTES", 10)  # of a copy in the cache, too
    hub.down = True
    with pytest.warns(UserWarning, match="cached"):
        assert "larger" in refusal(lambda: open_model("hf:anna/birds"))


@pytest.mark.parametrize("tag", ["../../../escaped", "a/b", "..", ".", "~", "C:x"])
def test_a_server_cannot_name_files_outside_the_cache(
    tag: str, hub: Any, weights: bytes, tmp_path: Path
) -> None:
    hub.add("anna/birds", model_safetensors=weights)
    for header in ("ETag", "X-Repo-Commit"):
        hub.headers = {header: tag}
        refusal(lambda: open_model("hf:anna/birds"))
    assert not any(request.startswith("GET") for request in hub.requests)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_out_of_the_cache_is_not_followed(hub: Any, weights: bytes, tmp_path: Path) -> None:
    hub.add("anna/birds", model_safetensors=weights)
    open_model("hf:anna/birds")
    (cached,) = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/model.safetensors")
    (tmp_path / "elsewhere").write_bytes(weights)
    cached.unlink()
    cached.symlink_to(tmp_path / "elsewhere")
    assert "link out of the cache" in refusal(lambda: open_model("hf:anna/birds"))


@pytest.mark.parametrize(
    "name",
    [
        "hf:", "hf:birds", "hf:a/b/c", "hf:a/b@", "hf:a/../b", "hf:../b", "hf:a/b@../../x",
        "hf:a/b@x/../y", "hf:a/b@/x", "hf:a b/c", "hf:a/b\n", "hf:a/b?x=1", "hf:a/b#c",
        "hf:a/" + "b" * 300, "hf:a/b@" + "c" * 300, "hf:a/b.git", "hf:a//b", "hf:\0/b",
    ],
)  # fmt: skip
def test_names_that_are_not_models_are_refused_before_anything_is_asked(
    name: str, hub: Any
) -> None:
    refusal(lambda: load_generator(name))
    assert hub.requests == []


def test_names_have_a_repository_and_a_revision() -> None:
    assert parse_hub_name("hf:a-b/c.d_e") == HubName("a-b/c.d_e", "main")
    assert parse_hub_name("hf:a/b@refs/pr/1") == HubName("a/b", "refs/pr/1")


def test_only_data_sets_of_the_hub_have_a_name_there() -> None:
    assert dataset_of("hf:anna/birds") == "hf:anna/birds"
    assert dataset_of("hf:anna/birds:large:train") == "hf:anna/birds"
    for other in ("/home/anna/birds", "avatars", "hf:birds", None, 3, "hf:a/b\nc: d"):
        assert dataset_of(other) == ""


def test_an_existing_path_wins_over_a_name_on_the_hub(
    hub: Any, model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hf:anna").mkdir()
    Path("hf:anna/birds").write_bytes(model_file.read_bytes())
    assert open_model("hf:anna/birds").step == 6
    assert hub.requests == []
