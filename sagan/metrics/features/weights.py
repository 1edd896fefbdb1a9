"""Weights of feature networks: find, download and check their files."""

from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch

from sagan.errors import SaganError
from sagan.storage.files import cache_folder, sha256_of


@dataclass(frozen=True)
class PublishedWeights:
    """A file with which others computed their published numbers.

    Attributes:
        url: where it is published.
        sha256: its SHA-256, 64 hex digits.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


def find_weights(published: PublishedWeights, given: Path | None) -> tuple[Path, str]:
    """Return the path and SHA-256 of a given file, or of the published one in the cache.

    The published file is downloaded if the cache does not have it.

    Raises:
        SaganError: the file is missing or damaged, or cannot be downloaded.
    """
    if given is not None:
        if not given.is_file():
            raise SaganError(f"cannot find '{given}': --weights takes {published.name}")
        return given, sha256_of(given)
    path = cache_folder("metrics") / published.name
    if not path.is_file():
        _download(published, path)
    sha256 = sha256_of(path)
    if sha256 != published.sha256:
        raise SaganError(f"'{path}' is damaged: delete it to download it again")
    return path, sha256


def _download(published: PublishedWeights, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside, checked, then renamed; the progress is shown on standard error.
        torch.hub.download_url_to_file(published.url, str(path), published.sha256)
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise SaganError(
            f"cannot download {published.url} ({reason}): download it elsewhere and save it as "
            f"'{path}', or name it with --weights; --features efficientnet-lite0 needs no download"
        ) from None
