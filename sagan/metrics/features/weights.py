"""Files with the weights of feature networks: found, fetched, checked, read without pickles."""

import hashlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.storage.files import cache_folder

Tensors: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class PublishedWeights:
    """A file that others computed their published numbers with."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def find_weights(published: PublishedWeights, given: Path | None) -> tuple[Path, str]:
    """The file given, or the published one, fetched into the cache if it is not there; its sha256.

    Raises:
        SaganError: it is not there and cannot be fetched, or is not what was published.
    """
    if given is not None:
        if not given.is_file():
            raise SaganError(f"there is no file {given}: --weights takes {published.name}")
        return given, sha256_of(given)
    path = cache_folder("metrics") / published.name
    if not path.is_file():
        _fetch(published, path)
    sha256 = sha256_of(path)
    if sha256 != published.sha256:
        raise SaganError(f"{path} is damaged: remove it, so that it is fetched again")
    return path, sha256


def _fetch(published: PublishedWeights, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside, checked, then renamed; the progress is shown on standard error.
        torch.hub.download_url_to_file(published.url, str(path), published.sha256)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise SaganError(
            f"cannot fetch {published.url} ({reason}): fetch it elsewhere and put it at {path}, or "
            "name it with --weights; --features efficientnet-lite0 needs no download"
        ) from None


def sha256_of(path: Path) -> str:
    """Sha256 hex of a file.

    Raises:
        SaganError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise SaganError(f"cannot read {path}: {error.strerror}") from None
    return digest.hexdigest()


def read_tensors(path: Path) -> Tensors:
    """The tensors in a file that torch saved; whatever else is in it is refused, never run.

    Raises:
        SaganError: it is no file of named tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a stranger's file: the reader may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SaganError(f"{path} does not hold weights: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise SaganError(f"{path} does not hold weights: it is no dictionary of tensors")
    return content
