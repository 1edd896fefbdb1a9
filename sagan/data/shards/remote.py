"""Files behind a URL, read with suspicion: HTTP by the standard library, the rest through fsspec.

Only names that this package makes itself are asked for, each with a limit on its size.
"""

import contextlib
import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sagan._version import __version__
from sagan.errors import SaganError, UnreadableError
from sagan.hub.errors import hub_reason
from sagan.runtime.extras import REMOTE, report_missing_library

TIMEOUT_SECONDS = 30  # without a byte
_BLOCK = 256 * 1024


def is_url(source: str) -> bool:
    """Return whether a data set's name is a URL, such as s3://bucket/photos-64."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


class MissingError(UnreadableError):
    """A file is not there, or cannot be read with what is installed."""


class RemoteFolder:
    """A folder behind a URL.

    Args:
        url: of the folder; http(s) or anything that fsspec reads.

    Attributes:
        name: the URL without a password, for messages.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.name = re.sub(r"//[^/@\s]+@", "//", self._url)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a small file.

        Raises:
            UnreadableError: it cannot be read, or is larger than `max_bytes`.
        """
        content = b"".join(self._blocks(name, max_bytes))
        if len(content) > max_bytes:
            raise UnreadableError(f"larger than {max_bytes:,} bytes")
        return content

    def fetch(self, name: str, out: Path, max_bytes: int) -> str:
        """Write a file's content to `out`, block by block; return the SHA-256 of what was written.

        Of a file that is larger than `max_bytes`, little more than that is read.

        Raises:
            UnreadableError: it cannot be read.
            OSError: `out` cannot be written.
        """
        digest = hashlib.sha256()
        with out.open("wb") as file:
            for block in self._blocks(name, max_bytes):
                digest.update(block)
                file.write(block)
        return digest.hexdigest()

    def _blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
        remaining = max_bytes
        with self._opened(name) as file:
            while remaining >= 0 and (block := _read(file)):
                remaining -= len(block)
                yield block
            # What is missing of an HTTP answer, whose end looks the same if a server closes early.
            if remaining >= 0 and getattr(file, "length", None):
                raise UnreadableError("the connection ended before the file did")

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        url = f"{self._url}/{name}"
        try:
            file = _open_http(url) if _is_http(url) else _open_with_fsspec(url)
        except SaganError:
            raise
        except Exception as error:  # each file system of fsspec has errors of its own
            raise _unreadable(error) from None
        with file:
            yield file


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _open_http(url: str) -> IO[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": f"sagan/{__version__}"})
    opened: IO[bytes] = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    return opened


def _open_with_fsspec(url: str) -> IO[bytes]:
    with report_missing_library(REMOTE):
        import fsspec
    opened: IO[bytes] = fsspec.open(url, "rb").open()
    return opened


def _read(file: IO[bytes]) -> bytes:
    try:
        return file.read(_BLOCK)
    except Exception as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> UnreadableError:
    """Return the error with its reason, and whether it is useless to ask again."""
    missing = isinstance(error, FileNotFoundError | ImportError)
    if isinstance(error, urllib.error.HTTPError):
        missing = 400 <= error.code < 500
        error.close()  # it has the connection
    return (MissingError if missing else UnreadableError)(hub_reason(error))
