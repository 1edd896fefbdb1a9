"""Files read with suspicion, as they may come from anyone; files written whole or not at all.

`open_file` is the one way to open a file that someone else may have put there.
"""

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

import platformdirs

from sagan.errors import SaganError, UnreadableError, reason
from sagan.storage.fsync import rename, write

if TYPE_CHECKING:
    from PIL.Image import Image

# Limits of a text or JSON file, and of an image file: no honest one is larger. JSON of small values
# takes a hundred times its size in memory.
MAX_TEXT_BYTES = 2 * 1024**2
MAX_IMAGE_BYTES = 256 * 1024**2

# Opening a pipe would otherwise wait for a writer, a terminal could become this process's own, and
# Windows would translate line ends. No system has all three.
_READ_FLAGS = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)


def expanded(path: str) -> Path:
    """Return a path, its "~" the user's home folder; that of an unknown user is left as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises RuntimeError)


def cache_folder(kind: str) -> Path:
    """Return where to keep files that can be made again.

    It is $SAGAN_CACHE/KIND, or else KIND in this package's part of the user's cache.
    """
    override = os.environ.get("SAGAN_CACHE")
    root = expanded(override) if override else platformdirs.user_cache_path("sagan")
    return root / kind


# ---------------------------------------------------------------------------------------------
# Reading


def open_file(
    path: str | Path, max_bytes: int | None = None, *, follow_links: bool = True
) -> BinaryIO:
    """Open a regular file for reading, without ever waiting for another process.

    Pipes, devices, sockets and folders are refused: reading them may never end.

    Args:
        path: the file; its content may be anyone's.
        max_bytes: the largest size to accept; None accepts any.
        follow_links: whether `path` itself may be a symbolic link.

    Raises:
        UnreadableError: the file does not exist, is not a regular file, is too large, or is a link
            that must not be followed. The reason does not name the file.
    """
    descriptor, _ = _open(path, max_bytes, follow_links)
    return os.fdopen(descriptor, "rb")


def read_file(
    path: str | Path, max_bytes: int = MAX_IMAGE_BYTES, *, follow_links: bool = True
) -> bytes:
    """Read a file as `open_file` opens it, by default one that may be an image file.

    Raises:
        UnreadableError: as `open_file`, or it cannot be read to its end.
    """
    descriptor, size = _open(path, max_bytes, follow_links)
    try:
        data = _read_up_to(descriptor, size + 1)
        if len(data) > size:  # it has grown since, or is in /proc, where sizes are 0
            data += _read_up_to(descriptor, max_bytes + 1 - len(data))
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def read_part(path: str | Path, start: int, num_bytes: int) -> bytes:
    """Read a part of a file of any size, or what there is of that part, as `open_file` opens it.

    It opens the file each time: a descriptor that threads or processes share has one position for
    all of them, and not every system can read from elsewhere (`os.pread`).

    Raises:
        UnreadableError: as `open_file`, or it cannot be read.
    """
    descriptor, _ = _open(path, None, follow_links=True)
    try:
        os.lseek(descriptor, start, os.SEEK_SET)
        return _read_up_to(descriptor, num_bytes)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    except OverflowError as error:  # no file is as large as `start`
        raise UnreadableError(str(error)) from None
    finally:
        os.close(descriptor)


def _open(path: str | Path, max_bytes: int | None, follow_links: bool) -> tuple[int, int]:
    """Open as `open_file` does, but return a descriptor, which is much faster, and the size."""
    flags = _READ_FLAGS
    try:
        if not follow_links:
            # The flag closes the gap between looking and opening; Windows does not have it.
            flags |= getattr(os, "O_NOFOLLOW", 0)
            if os.path.islink(path):  # noqa: PTH114 -- a path may be a string
                raise UnreadableError("a symbolic link")
        descriptor = os.open(path, flags)
        try:
            # Of what is open now: the name may soon mean another file.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError("not a regular file")
            if max_bytes is not None and status.st_size > max_bytes:
                raise _too_large(max_bytes)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from None
    except ValueError as error:  # a name with a NUL character
        raise UnreadableError(str(error)) from None
    return descriptor, status.st_size


def _read_up_to(descriptor: int, num_bytes: int) -> bytes:
    blocks = []
    while num_bytes > 0 and (block := os.read(descriptor, num_bytes)):
        blocks.append(block)
        num_bytes -= len(block)
    return b"".join(blocks)


def _too_large(max_bytes: int) -> UnreadableError:
    return UnreadableError(f"larger than {max_bytes // 1024**2} MiB")


def read_small(path: Path, *, follow_links: bool = True) -> bytes:
    """Read a file of at most `MAX_TEXT_BYTES`.

    Raises:
        SaganError: it cannot be read, for one of the reasons of `open_file`.
    """
    try:
        return read_file(path, MAX_TEXT_BYTES, follow_links=follow_links)
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which an entry, or anything inside it, is a symbolic link.

    A folder may come from anyone, and what is read, written or removed in it must not lie
    elsewhere. The folder itself may be a link, since the user has named it.

    Args:
        folder: the folder, which may be missing.
        names: the entries to check; others are the user's own.

    Raises:
        SaganError: there is a link.
        OSError: a folder cannot be listed.
    """
    pending = [folder / name for name in names]
    while pending:
        path = pending.pop()
        if path.is_symlink():
            raise SaganError(
                f"'{path}' is a link, which may lead out of '{folder}': replace it by what it "
                "leads to (cp -rL copies a folder without links)"
            )
        # A training that is still running may remove a folder meanwhile.
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path) as entries:
            pending += [path / e.name for e in entries if e.is_symlink() or e.is_dir()]


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        SaganError: as `read_small`, or it is not UTF-8.
    """
    try:
        return read_small(path).decode("utf-8")
    except UnicodeDecodeError:
        raise SaganError(f"'{path}' is not a UTF-8 text file") from None


def read_json(path: Path, *, follow_links: bool = True) -> Any:
    """Read a small JSON file.

    Raises:
        SaganError: as `read_small`, or it is not JSON.
    """
    content = read_small(path, follow_links=follow_links)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise SaganError(f"'{path}' is damaged: not JSON") from None


# ---------------------------------------------------------------------------------------------
# Writing


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that at any moment either the old or the new content is there, whole.

    Missing parent folders are made.

    Raises:
        SaganError: it cannot be written; the old content is still there.
    """
    with replacing(path) as temporary:
        write(temporary, content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; at the end, the file written there takes the place of `path`.

    If the block raises, the old file stays. Missing parent folders are made. If `path` is a link,
    the file that it leads to is replaced. The caller must flush what it writes to the disk.

    Raises:
        SaganError: it cannot be written, or `path` is a pipe or a device.
    """
    path = _resolved_target(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        rename(temporary, path)
    except OSError as error:
        raise SaganError(f"cannot write '{path}': {reason(error)}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _resolved_target(path: Path) -> Path:
    """Follow links; refuse a pipe or a device, which a file taking its place would destroy."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        raise SaganError(f"'{path}' is a pipe or a device: give a file")
    return path


def check_page_name(path: Path) -> None:
    """Refuse to write a page to a file with another ending, which may be a file of another kind.

    Raises:
        SaganError: the name does not end in .html or .htm.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise SaganError(f"a page is called FILE.html, not '{path.name or path}'")


def check_writable(path: Path) -> None:
    """Check that a file can be written, before doing the work that makes its content.

    Nothing is written, but missing parent folders are made.

    Raises:
        SaganError: it cannot be written.
    """
    path = _resolved_target(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SaganError(f"cannot write '{path}': {reason(error)}") from None


def write_image(path: Path, image: "Image", **options: Any) -> None:
    """Write an image in the format that the name ends in; `options` are Pillow's for that format.

    Raises:
        SaganError: it cannot be written; the old content is still there.
    """
    encoded = BytesIO()
    image.save(encoded, path.suffix[1:], **options)
    write_bytes(path, encoded.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON that people can read, whole or not at all.

    Raises:
        SaganError: it cannot be written; the old content is still there.
    """
    write_bytes(path, to_json(value))


def to_json(value: Any) -> bytes:
    """Return the content of a JSON file that people can read."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # as JSON itself escapes half a surrogate pair


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits.

    Raises:
        SaganError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise SaganError(f"cannot read '{path}': {error.strerror}") from None
    return digest.hexdigest()
