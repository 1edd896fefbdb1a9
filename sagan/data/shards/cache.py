"""Shards of a remote set: fetched ahead by a thread, checked, and kept while there is room."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sagan.data.shards.images import MAX_OPEN
from sagan.data.shards.layout import shard_name
from sagan.data.shards.remote import MissingError, RemoteFolder
from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import replacing, sha256_of

LIMIT = "SAGAN_SHARDS_GB"  # the environment variable with the size of the cache
DEFAULT_GB = 10.0
# Before a network error is final; a training that reads ahead hardly notices.
RETRY_SECONDS = (1.0, 4.0, 16.0)
_ABANDONED_SECONDS = 3600.0


def cache_limit() -> int:
    """Return how many bytes of shards the cache may contain: $SAGAN_SHARDS_GB, or 10 GB.

    Raises:
        SaganError: the variable is not a number above 0.
    """
    text = os.environ.get(LIMIT, "")
    try:
        limit = 1e9 * float(text or DEFAULT_GB)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise SaganError(f"{LIMIT}={text} is not a number of gigabytes: set it to one above 0")
    return round(limit)


class CachedShards:
    """The shards of one remote set, in a folder of the cache.

    One thread fetches one shard at a time: the one that is waited for, or else the first missing
    one of those that are expected. It ends when there is nothing to fetch. Processes may share the
    cache. Room is made by removing the shards of any set that were opened the longest ago.

    Args:
        remote: where they come from.
        folder: their folder in the cache. Those of other sets lie in folders beside it.
        checksums: SHA-256 of each.
        max_bytes: the size of the largest.
        streamed: whether images are read in an order that needs few shards at a time.
        limit: of the cache, in bytes; by default `cache_limit()`.

    Attributes:
        waited: seconds that were spent waiting for shards.
    """

    def __init__(
        self,
        remote: RemoteFolder,
        folder: Path,
        checksums: Sequence[str],
        max_bytes: int,
        *,
        streamed: bool,
        limit: int | None = None,
    ) -> None:
        self.streamed = streamed
        self.waited = 0.0
        self._remote = remote
        self._folder = folder
        self._checksums = checksums
        self._max_bytes = max_bytes
        self._limit = limit if limit is not None else cache_limit()
        # A file that is removed keeps its place on the disk while it is open.
        self.max_open = max(1, min(MAX_OPEN, self._limit // max_bytes))
        self._changed = threading.Condition()  # guards all that follows
        self._expected: tuple[int, ...] = ()
        self._waiting_for: int | None = None
        self._sound: set[int] = set()  # checked by this process
        self._errors: dict[int, Exception] = {}
        self._thread: threading.Thread | None = None

    def path(self, shard: int) -> Path:
        """Return a shard's file, as soon as it is there.

        Raises:
            SaganError: it cannot be fetched, is damaged at its origin, or cannot be written.
        """
        path = self._folder / shard_name(shard)
        started = time.perf_counter()
        with self._changed:
            # What failed while reading ahead may be long ago, and is tried again.
            self._errors.pop(shard, None)
            self._waiting_for = shard
            try:
                while not self._is_there(shard, path):
                    if error := self._errors.pop(shard, None):
                        raise error
                    self._work()
                    self._changed.wait()
            finally:
                self._waiting_for = None
        self.waited += time.perf_counter() - started
        return path

    def _is_there(self, shard: int, path: Path) -> bool:
        """Return whether a shard is in the cache, and count it as opened now."""
        if shard not in self._sound:
            return False
        try:
            _count_as_opened(path)
        except FileNotFoundError:  # another process has made room
            self._sound.discard(shard)
            return False
        return True

    def expect(self, shards: Sequence[int]) -> None:
        """Fetch these shards meanwhile, in this order, and remove none of them.

        Raises:
            SaganError: they and one more do not fit into the cache.
        """
        if self._expected == tuple(shards):
            return
        processes = os.environ.get("LOCAL_WORLD_SIZE", "")
        num = (len(shards) + 1) * (int(processes) if processes.isdecimal() else 1)
        self._check_limit(num, "choose a smaller shuffle_window")
        with self._changed:
            self._expected = tuple(shards)
            self._work()

    def fetch_all(self, fetched: Callable[[int], None]) -> None:
        """Fetch all shards.

        Args:
            fetched: called with the number of shards that are there.

        Raises:
            SaganError: as `path`, or they do not fit into the cache.
        """
        num = len(self._checksums)
        self._check_limit(num, "train with --set shuffle_window=8, which fetches them in turn")
        self._expected = tuple(range(num))
        for shard in range(num):
            self.path(shard)
            fetched(shard + 1)

    def _check_limit(self, num: int, remedy: str) -> None:
        needed = num * self._max_bytes
        if needed > self._limit:
            raise SaganError(
                f"'{self._remote.name}' needs {needed / 1e9:.3g} GB in the cache of shards, which "
                f"may have {self._limit / 1e9:.3g}: set {LIMIT} to more, or {remedy}"
            )

    # -- In the thread, except for `_work`, which starts it ------------------------------------

    def _work(self) -> None:
        if self._thread is None and self._next() is not None:
            # A daemon, so that the interpreter does not wait for a download at its end.
            self._thread = threading.Thread(target=self._run, name="shards", daemon=True)
            self._thread.start()

    def _next(self) -> int | None:
        urgent = () if self._waiting_for is None else (self._waiting_for,)
        done = self._sound | self._errors.keys()
        return next((shard for shard in (*urgent, *self._expected) if shard not in done), None)

    def _run(self) -> None:
        while True:
            with self._changed:
                shard = self._next()
                if shard is None:
                    self._thread = None
                    return
            error: Exception | None = None
            try:
                self._make_sound(shard)
            except Exception as found:  # raised if the shard is being waited for
                error = found
            with self._changed:
                if error is not None:
                    self._errors[shard] = error
                else:
                    self._sound.add(shard)
                self._changed.notify_all()

    def _make_sound(self, shard: int) -> None:
        """Have the shard in the cache: the one that is there if it is sound, else a new one."""
        path = self._folder / shard_name(shard)
        if path.is_file() and sha256_of(path) == self._checksums[shard]:
            _count_as_opened(path)
            return
        self._make_room()
        fetch_checked(self._remote, path, self._checksums[shard], self._max_bytes)

    def _make_room(self) -> None:
        """Remove the shards that were opened the longest ago until one more fits."""
        with self._changed:
            needed = {*self._expected, self._waiting_for}
        kept = {self._folder / shard_name(shard) for shard in needed if shard is not None}
        files = []
        for path in self._folder.parent.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if path.name.startswith("images-"):
                    files.append((status.st_mtime, status.st_size, path))
                elif path.suffix == ".tmp" and status.st_mtime < time.time() - _ABANDONED_SECONDS:
                    files.append((0.0, status.st_size, path))
        total = sum(size for _, size, _ in files) + self._max_bytes
        for _, size, path in sorted(files):
            if total <= self._limit:
                break
            if path not in kept:
                with contextlib.suppress(OSError):  # Windows keeps files that are open
                    path.unlink()
                    total -= size
                    with self._changed:
                        if path.parent == self._folder:
                            self._sound -= {s for s in self._sound if shard_name(s) == path.name}


def _count_as_opened(path: Path) -> None:
    """Note the time, which decides what is removed first; somebody else's cache need not allow it.

    Raises:
        FileNotFoundError: the file is gone.
    """
    try:
        os.utime(path)
    except FileNotFoundError:
        raise
    except OSError:
        pass


class DamagedError(UnreadableError):
    """A file has arrived, but is not the one that was packed."""


def fetch_checked(remote: RemoteFolder, path: Path, checksum: str, max_bytes: int) -> None:
    """Fetch a file into `path`, where it appears only if it is whole.

    A file that arrives damaged is fetched once again, and a network that fails is tried for some
    seconds.

    Raises:
        SaganError: it does not arrive, is damaged at its origin, or cannot be written.
    """
    num_damaged, pauses = 0, list(RETRY_SECONDS)
    while True:
        try:
            with replacing(path) as temporary:
                if remote.fetch(path.name, temporary, max_bytes) == checksum:
                    return
                # Leaving `replacing` by an error keeps the damaged file from taking the name.
                raise DamagedError("its SHA-256 is not the one in pack.json")
        except UnreadableError as error:
            damaged = isinstance(error, DamagedError)
            num_damaged += damaged
            if num_damaged == 2 or isinstance(error, MissingError) or not pauses:
                raise SaganError(
                    f"cannot fetch '{remote.name}/{path.name}': {error}; check the network, or "
                    "upload the packed set again"
                ) from None
            if not damaged:
                time.sleep(pauses.pop(0))
