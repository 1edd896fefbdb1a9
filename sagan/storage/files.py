"""Small files: read with suspicion, as they may be anyone's, and written whole or not at all.

And where files are kept that can be made again.
"""

import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import platformdirs

from sagan.errors import SaganError, UnreadableError
from sagan.storage.fsync import reason, rename, write

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 2**24


def cache_folder(kind: str) -> Path:
    """$SAGAN_CACHE/KIND, or KIND in this package's part of the user's cache."""
    override = os.environ.get("SAGAN_CACHE")
    root = Path(override).expanduser() if override else platformdirs.user_cache_path("sagan")
    return root / kind


def read_small(path: Path) -> bytes:
    """Read a small file.

    Raises:
        SaganError: missing, no file or too large.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may never end
            raise SaganError(f"{path} is not a file")
        if status.st_size > MAX_BYTES:
            raise SaganError(f"{path} is too large to be what it should be")
        return path.read_bytes()
    except OSError as error:
        raise SaganError(f"cannot read {path}: {reason(error)}") from None


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        SaganError: missing, no file, too large or not UTF-8.
    """
    try:
        return read_small(path).decode("utf-8")
    except UnicodeDecodeError:
        raise SaganError(f"{path} is no text: it is not UTF-8") from None


def read_json(path: Path) -> Any:
    """Read a small JSON file.

    Raises:
        SaganError: missing, no file, too large or not JSON.
    """
    content = read_small(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise SaganError(f"{path} is damaged: not JSON") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that at any instant the old or the new content is there, whole.

    Folders on the way to it are made.

    Raises:
        SaganError: it cannot be written; the old content is there.
    """
    with replacing(path) as temporary:
        write(temporary, content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write, and have on the disk, what then takes a file's place; the old one stays else.

    Folders on the way to it are made. Of a link the file that it leads to is replaced.

    Raises:
        SaganError: it cannot be written, or is a pipe or a device; the old content is there.
    """
    path = _of_a_file(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        rename(temporary, path)
    except OSError as error:
        raise SaganError(f"cannot write {path}: {reason(error)}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _of_a_file(path: Path) -> Path:
    """Where a path leads; what is no file there would be gone when a file takes its place."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SaganError(f"{path} is a pipe or a device: give a file")
    return path


def check_page_name(path: Path) -> None:
    """Insist that what a page is written to is called so: other files are to be left alone.

    Raises:
        SaganError: it is called otherwise.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise SaganError(f"a page is called FILE.html, not {path.name or path}")


def check_writable(path: Path) -> None:
    """Insist that a file can be written at a path, before the work that it is to hold is done.

    Raises:
        SaganError: it cannot; nothing was written, but folders on the way to it may be made.
    """
    path = _of_a_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SaganError(f"cannot write {path}: {reason(error)}") from None


def write_picture(path: Path, picture: "Image", **options: Any) -> None:
    """Write a picture in the format that the name ends in; `options` are Pillow's for it.

    Raises:
        SaganError: it cannot be written; the old content is there.
    """
    encoded = BytesIO()
    picture.save(encoded, path.suffix[1:], **options)
    write_bytes(path, encoded.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write a value as `write_bytes` does, as JSON that people can read.

    Raises:
        SaganError: it cannot be written; the old content is there.
    """
    write_bytes(path, to_json(value))


def to_json(value: Any) -> bytes:
    """The content of a JSON file that people can read."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # as JSON itself escapes half a surrogate pair


# No honest picture file is larger, and a member of a zip may claim any size.
MAX_FILE_BYTES = 256 * 1024**2


def read_file(path: str) -> bytes:
    """Read a picture's file.

    Raises:
        UnreadableError: it cannot be read, or is larger than MAX_FILE_BYTES.
    """
    try:
        # Not waiting: opening a pipe would, for someone to write into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError("not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise UnreadableError(f"larger than {MAX_FILE_BYTES // 1024**2} MiB")
            return file.read()
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
