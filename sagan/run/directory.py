"""Run directories: what a training leaves on disk, who may write there, and what was trained.

RUN/config.json  environment.json  stats.jsonl  tb/  samples/  attention/  checkpoints/
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from sagan.config import Config, parse_config
from sagan.errors import SaganError, reason
from sagan.images.credits import checked_credits
from sagan.storage.files import read_json, refuse_links, write_json
from sagan.storage.fsync import flush
from sagan.storage.staging import is_unfinished, remove_unfinished

RUN_FORMAT = 1  # of config.json and of a checkpoint's manifest

RUN_CONTENT = {
    ".lock", "config.json", "environment.json", "stats.jsonl", "tb", "samples", "attention",
    "checkpoints", "best.json", "trackers.json",
    "trained.png",  # the demo draws it before its run begins
}  # fmt: skip


class StartRecord(BaseModel):
    """What a run took from the model that it started from.

    Attributes:
        model: the model's path or name.
        step: of the model.
        sha256: {network: SHA-256 of the tensors that were read}.
        taken: {network: (tensors taken, all tensors of the new network)}.
        fresh: blocks and layers of the new networks that did not start from the model.
        new_classes: classes that the model does not have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    step: int
    sha256: dict[str, str]
    taken: dict[str, tuple[int, int]]
    fresh: tuple[str, ...]
    new_classes: tuple[str, ...]


@dataclass(frozen=True)
class RunDescription:
    """The configuration and the data of a run, as in its config.json.

    Attributes:
        config: the whole configuration, with `conditional` decided.
        preset: the preset it started from.
        data: the data set: source, fingerprint, number of images, class names, fit, credits.
        start: the model it started from, "from" in the file; None if it started from scratch.
    """

    config: Config
    preset: str
    data: dict[str, Any]
    start: StartRecord | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; empty for an unconditional model."""
        return tuple(self.data["classes"]) if self.config.conditional else ()

    @property
    def fit(self) -> str:
        """How the images got their proportions: "crop", "pad" or "stretch"."""
        return str(self.data.get("fit", "crop"))  # the first runs of 0.1.0 do not record it

    @property
    def credits(self) -> str:
        """Who made the images, in lines of text; "" if unknown, as in the first runs of 0.1.0."""
        return checked_credits(self.data.get("credits"))

    def with_steps(self, steps: int) -> "RunDescription":
        """Return this description with another number of steps."""
        return replace(self, config=self.config.model_copy(update={"steps": steps}))


def create_run(run: Path, description: RunDescription, environment: Mapping[str, Any]) -> None:
    """Make a run directory with its config.json and environment.json.

    Raises:
        SaganError: the path is a file, or cannot be written.
    """
    check_run_folder(run)
    try:
        for folder in ("checkpoints", "samples", "attention"):
            (run / folder).mkdir(parents=True, exist_ok=True)
        flush(run.parent)
    except OSError as error:
        raise SaganError(f"cannot make the run directory '{run}': {reason(error)}") from None
    remove_unfinished(run)
    remove_unfinished(run / "checkpoints")
    write_description(run, description)
    write_json(run / "environment.json", environment)


def write_description(run: Path, description: RunDescription) -> None:
    """Write RUN/config.json.

    Raises:
        SaganError: it cannot be written.
    """
    start = description.start
    content = {
        "format": RUN_FORMAT,
        "preset": description.preset,
        "config": description.config.model_dump(mode="json"),
        "data": description.data,
        **({"from": start.model_dump(mode="json")} if start is not None else {}),
    }
    write_json(run / "config.json", content)


def check_run_folder(run: Path) -> None:
    """Check that a folder can be trained in: it is missing, empty, or a run directory.

    Raises:
        SaganError: it is a file, contains something else or a link in the place of a run's file or
            folder, or its name is not valid UTF-8.
    """
    try:
        str(run).encode()
    except UnicodeEncodeError:
        raise SaganError(f"'{run}' is not a UTF-8 name: give another --out") from None
    if run.exists() and not run.is_dir():
        raise SaganError(f"'{run}' is a file, not a folder to train in: give another --out")
    refuse_links(run, sorted(RUN_CONTENT))
    if run.is_dir() and not is_run(run):
        others = [
            path.name
            for path in run.iterdir()
            if path.name not in RUN_CONTENT and not is_unfinished(path)
        ]
        if others:
            raise SaganError(
                f"'{run}' contains other things, such as '{others[0]}': give another --out"
            )


def check_readable(run: Path) -> None:
    """Check that what is read of a run is not a link; images that are links are left out.

    Raises:
        SaganError: there is a link.
    """
    refuse_links(run, ("config.json", "environment.json", "stats.jsonl", "checkpoints"))


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Allow one process at a time to train in a folder.

    If that process crashes, the operating system releases the lock.

    Raises:
        SaganError: another process is training there, the folder cannot be made, or
            `check_run_folder` refuses it.
    """
    check_run_folder(run)
    with alone_in(run):
        yield


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Allow one process at a time to work in a folder, whatever it contains.

    Raises:
        SaganError: another process works there, or the folder cannot be made.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise SaganError(
            f"another process is at work in '{folder}': wait until it ends (if nothing is, as "
            "after losing a machine on a shared disk, remove the file '.lock' there)"
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise SaganError(f"cannot work in '{folder}': {reason(error)}") from None
    try:
        yield
    finally:
        lock.release()


def is_run(path: Path) -> bool:
    """Return whether this folder contains a run."""
    return (path / "config.json").is_file()


def read_description(run: Path) -> RunDescription:
    """Read RUN/config.json.

    Raises:
        SaganError: it is missing or damaged.
    """
    path = run / "config.json"
    content = read_json(path, follow_links=False)
    try:
        config, preset, data = content["config"], content["preset"], content["data"]
        classes = data["classes"]
        start = StartRecord.model_validate(content["from"]) if "from" in content else None
        sound = (
            isinstance(config, dict)
            and isinstance(classes, list)
            and all(isinstance(name, str) for name in classes)
        )
    except (KeyError, TypeError, ValidationError):
        sound = False
    if not sound:
        raise SaganError(f"'{path}' is not a run's configuration")
    return RunDescription(parse_config(config), str(preset), data, start)


def read_environment(run: Path) -> dict[str, Any]:
    """Read RUN/environment.json; empty if it is missing or damaged, since it only informs."""
    with suppress(SaganError):
        content = read_json(run / "environment.json", follow_links=False)
        if isinstance(content, dict):
            return content
    return {}
