"""hf:NAME: a data set from the Hugging Face hub, streamed."""

import hashlib

from sagan.data.sources.rows import StreamedRows
from sagan.data.sources.tables import TableSource, import_datasets
from sagan.data.sources.tree import DEFAULT_SPLIT
from sagan.errors import SaganError
from sagan.hub.errors import hub_reason

# One request with this timeout comes before loading: the loaders would retry for half a minute.
TIMEOUT_SECONDS = 5


def open_hub(source: str, split: str) -> TableSource:
    """Open hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT.

    If the name includes a split, `split` must be the default or the same.

    Raises:
        SaganError: the hub cannot be reached, has no such set, or as `TableSource`.
    """
    name, config, split = _parse(source, split)
    datasets = import_datasets()
    revision = _revision(source, name)
    try:
        streams = datasets.load_dataset(name, config, streaming=True, revision=revision)
        splits = {str(key): StreamedRows(stream, key) for key, stream in streams.items()}
    except Exception as error:  # the loaders' own, the hub's, pyarrow's and the network's
        raise SaganError(f"cannot read '{source}' from the hub: {hub_reason(error)}") from None

    def listing() -> str:
        content = repr((name, config, split, revision))
        return hashlib.sha256(content.encode()).hexdigest()

    return TableSource(source, splits, split, listing)


def _parse(source: str, split: str) -> tuple[str, str | None, str]:
    name, *rest = source.removeprefix("hf:").split(":")
    if not name or len(rest) > 2 or not all(rest):
        raise SaganError(
            f"cannot read '{source}': write hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT"
        )
    if not rest:
        return name, None, split
    if split not in (DEFAULT_SPLIT, rest[-1]):
        raise SaganError(f"'{source}' names the split '{rest[-1]}', but --split says '{split}'")
    return name, rest[0] if len(rest) == 2 else None, rest[-1]


def _revision(source: str, name: str) -> str | None:
    """Return the set's current commit.

    Raises:
        SaganError: the hub does not answer, or does not have the set.
    """
    # Imported here, like everything that only some sources need.
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return HfApi().dataset_info(name, timeout=TIMEOUT_SECONDS).sha
    except HFValidationError as error:
        raise SaganError(
            f"'{source}' is not a valid name on the hub: {hub_reason(error)}"
        ) from None
    except HfHubHTTPError as error:
        raise SaganError(
            f"cannot get the data set '{name}' from the hub: check the name, or sign in with "
            f"'hf auth login' if it is private or gated ({hub_reason(error)})"
        ) from None
    except Exception as error:  # offline mode, no network, no such host, a proxy in the way
        raise SaganError(
            f"'{source}' needs the Hugging Face hub, which does not answer ({hub_reason(error)}): "
            "connect to the network, or give a folder, a .zip or .parquet files on this machine"
        ) from None
