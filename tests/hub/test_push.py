"""Models are pushed to the hub with their card, and come back as they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from sagan import load_generator
from sagan.errors import SaganError
from sagan.model import Model, open_model

# The hub's library sends files in a way that its own HTTP client is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "s3cr3t" not in message
    return message


def test_a_pushed_model_comes_back_bit_for_bit(hub: Any, model: Model, model_file: Path) -> None:
    page = load_generator(model_file).push_to_hub("anna/birds", license="mit")
    assert page == f"{hub.url}/anna/birds"
    assert hub.repos["anna/birds"].revisions["main"].keys() == {
        "model.safetensors", "config.json", "README.md",
    }  # fmt: skip
    back = open_model("hf:anna/birds")
    for network in ("ema", "discriminator"):
        own, others = model.read(network), back.read(network)
        assert own.keys() == others.keys()
        assert all(torch.equal(own[name], others[name]) for name in own)
    card = hub.repos["anna/birds"].revisions["main"]["README.md"].decode()
    assert card.startswith('---\nlicense: "mit"\n')
    assert "sagan sample hf:anna/birds" in card
    assert hub.tokens == {f"Bearer {hub.token}"}


def test_pushing_again_replaces_the_model(hub: Any, model: Model) -> None:
    model.push_to_hub("anna/birds", card="first")
    model.push_to_hub("hf:anna/birds", card="second")
    assert open_model("hf:anna/birds").card == "second"
    assert list(hub.repos) == ["anna/birds"]


def test_a_private_model_is_never_pushed_to_a_public_page(hub: Any, model: Model) -> None:
    model.push_to_hub("anna/birds", private=True)
    assert hub.repos["anna/birds"].private
    model.push_to_hub("anna/birds", private=True)
    public = hub.add("anna/public")
    assert "is public" in refusal(lambda: model.push_to_hub("anna/public", private=True))
    assert public.revisions == {"main": {}}


def test_what_the_hub_refuses_is_one_line_without_the_token(hub: Any, model: Model) -> None:
    hub.refuses = "no right to write"
    message = refusal(lambda: model.push_to_hub("bert/birds"))
    assert "no right to write" in message
    assert "'bert/birds'" in message


@pytest.mark.parametrize("name", ["birds", "a/b@v1", "../b", "a/b/c", ""])
def test_a_push_needs_a_name_without_revision(name: str, hub: Any, model: Model) -> None:
    refusal(lambda: model.push_to_hub(name))
    assert hub.requests == []


def test_a_push_without_token_or_network_is_refused_before_anything_is_sent(
    hub: Any, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(lambda: model.push_to_hub("anna/birds"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refusal(lambda: model.push_to_hub("anna/birds"))
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in refusal(lambda: model.push_to_hub("anna/birds"))
