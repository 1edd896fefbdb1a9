"""hf:USER/NAME[@REVISION]: models on the Hugging Face hub by name."""

import re
from dataclasses import dataclass

from sagan.errors import SaganError, printable

PREFIX = "hf:"
LIBRARY_NAME = "torch-sagan"  # as the hub should know this package
MAIN = "main"  # the branch that the hub shows, and that models are pushed to

_PART = r"\w(?:[\w.-]*\w)?"
_REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
# It becomes part of a path in the cache of the hub's library, so it must not lead elsewhere.
_REVISION = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")
MAX_REPO, MAX_REVISION = 96, 200  # characters


@dataclass(frozen=True)
class HubName:
    """The name of a model on the hub.

    Attributes:
        repo: "USER/NAME".
        revision: a branch, a tag or a commit.
    """

    repo: str
    revision: str = MAIN

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return is_commit(self.revision)


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit in full: 40 hex digits."""
    return _COMMIT.fullmatch(revision) is not None


def is_hub_name(name: str) -> bool:
    """Return whether a model's name means one on the hub."""
    return name.startswith(PREFIX)


def parse_hub_name(name: str) -> HubName:
    """Return the parts of `hf:USER/NAME[@REVISION]`.

    Raises:
        SaganError: it is not such a name.
    """
    repo, at, revision = name.removeprefix(PREFIX).partition("@")
    if not (is_repo(repo) and (not at or _is_revision(revision))):
        raise SaganError(
            f"'{printable(name)}' is not a model's name on the hub: write hf:USER/NAME, or "
            "hf:USER/NAME@REVISION for a branch, tag or commit"
        )
    return HubName(repo, revision) if at else HubName(repo)


def is_repo(text: str) -> bool:
    """Return whether this can be the name of a repository on the hub: USER/NAME."""
    return (
        _REPO.fullmatch(text) is not None
        and len(text) <= MAX_REPO
        and not any(part in text for part in ("--", ".."))
        and not text.endswith(".git")
    )


def _is_revision(text: str) -> bool:
    return _REVISION.fullmatch(text) is not None and ".." not in text and len(text) <= MAX_REVISION


def dataset_of(source: object) -> str:
    """Return `hf:USER/NAME` of a data set from the hub; "" for any other, or if it is not a name.

    Args:
        source: the data set as `--data` takes it: from the hub, `hf:USER/NAME[:CONFIG][:SPLIT]`.
    """
    prefix, _, name = str(source).partition(":")
    repo = name.partition(":")[0]
    return PREFIX + repo if prefix + ":" == PREFIX and is_repo(repo) else ""
