"""Models from the hub: one file with a fixed name, in the cache of the hub's library.

A download may come from anyone. This file checks its size before it is read, and where it
lies; `sagan.model` reads it as any model file.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sagan._version import __version__
from sagan.errors import SaganError
from sagan.hub.errors import endpoint, hub_reason
from sagan.hub.folder import WEIGHTS
from sagan.hub.names import LIBRARY_NAME, HubName, is_commit, parse_hub_name

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

TIMEOUT_SECONDS = 5  # for the hub's first answer; a cached copy should not have to wait longer
MAX_BYTES = 4 * 2**30  # networks of sagan-256 for 1,000 classes take 0.35


def download_model(name: str) -> Path:
    """Return the path of a hub model's file, downloaded unless the newest version is cached.

    Without network, an earlier download of the same revision is used, with a warning unless the
    user has asked to stay offline (HF_HUB_OFFLINE).

    Args:
        name: `hf:USER/NAME[@REVISION]`.

    Raises:
        SaganError: the name is invalid, the hub does not have the model, does not answer and the
            cache has no copy, or the file is too large or a link out of the cache.
    """
    from huggingface_hub import constants

    wanted = parse_hub_name(name)
    cached = _cached(wanted)
    if cached is not None and wanted.is_commit:
        return _checked(cached, name)
    try:
        found = _ask(wanted)
    except Exception as error:
        _refuse_if_final(error, name, wanted)
        if cached is None:
            _fail_without_hub(error, name)
        if not constants.is_offline_mode():
            warnings.warn(
                f"{endpoint()} does not answer ({hub_reason(error)}): using the cached '{name}'",
                stacklevel=2,
            )
        return _checked(cached, name)
    if (found.size or 0) > MAX_BYTES:
        raise _too_large(name)
    if cached is not None and cached.parent.name == found.commit_hash:
        return _checked(cached, name)
    return _checked(_download(wanted, name), name)


def _cached(wanted: HubName) -> Path | None:
    """Return the file of an earlier download, if there is one."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(wanted.repo, WEIGHTS, revision=wanted.revision)
    return Path(path) if isinstance(path, str) else None


def _ask(wanted: HubName) -> "HfFileMetadata":
    """Ask the hub which version of the file is the newest, and how large it is."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(wanted.repo, WEIGHTS, revision=wanted.revision)
    found = get_hf_file_metadata(
        url, timeout=TIMEOUT_SECONDS, library_name=LIBRARY_NAME, library_version=__version__
    )
    # Both become names of files in the cache. A page that asks to sign in to a network has neither.
    tag = found.etag or ""
    named = is_commit(found.commit_hash or "") and tag.isalnum() and tag.isascii()
    if not (named and found.size is not None):
        raise ValueError("something else answers in its place")
    return found


def _download(wanted: HubName, name: str) -> Path:
    from huggingface_hub import constants, hf_hub_download

    try:
        path = hf_hub_download(
            wanted.repo,
            WEIGHTS,
            revision=wanted.revision,
            library_name=LIBRARY_NAME,
            library_version=__version__,
        )
    except Exception as error:  # a full disk, a broken connection, a file of another size
        raise SaganError(
            f"cannot download '{name}' to '{constants.HF_HUB_CACHE}' ({hub_reason(error)}): try "
            "again, or set HF_HOME to a folder with enough space"
        ) from None
    return Path(path)


def _checked(path: Path, name: str) -> Path:
    """Return where a file of the cache really lies: inside the cache, or it is refused."""
    from huggingface_hub import constants

    cache, real = Path(constants.HF_HUB_CACHE).expanduser().resolve(), path.resolve()
    if not real.is_relative_to(cache):
        raise SaganError(f"'{path}' is a link out of the cache '{cache}': remove it and try again")
    if real.stat().st_size > MAX_BYTES:
        raise _too_large(name)
    return real


def _too_large(name: str) -> SaganError:
    return SaganError(
        f"'{name}' is not downloaded, as its {WEIGHTS} is larger than {MAX_BYTES // 2**30} GiB: if "
        "you trust it, download it with 'hf download' and give the file"
    )


def _refuse_if_final(error: Exception, name: str, wanted: HubName) -> None:
    """Refuse with the reason if the hub has answered that it does not have the model."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"{endpoint()}/{wanted.repo}"
    if isinstance(error, GatedRepoError):
        problem = f"'{name}' is gated: ask for access at {page}, and sign in with 'hf auth login'"
    elif isinstance(error, RepositoryNotFoundError) or _status(error) == 401:
        problem = (
            f"{endpoint()} has no model '{wanted.repo}' that you may read: check the name, or sign "
            "in with 'hf auth login' if it is private or your token has expired"
        )
    elif isinstance(error, RevisionNotFoundError):
        problem = f"{page} has no revision '{wanted.revision}': leave out '@{wanted.revision}'"
    elif isinstance(error, EntryNotFoundError):
        problem = (
            f"{page} has no {WEIGHTS}, the only file that is read: give a model that was pushed "
            "with 'sagan push'"
        )
    else:
        return
    raise SaganError(problem) from None


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _fail_without_hub(error: Exception, name: str) -> NoReturn:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise SaganError(
            f"'{name}' is not in the cache '{constants.HF_HUB_CACHE}', and HF_HUB_OFFLINE is set: "
            "unset it to download the model, or give a model file"
        ) from None
    raise SaganError(
        f"cannot get '{name}', as {endpoint()} does not answer ({hub_reason(error)}) and there is "
        "no copy in the cache: connect to the network, or give a model file"
    ) from None
