"""onnxruntime-web, which runs networks in a browser: fetched once with npm, then in the cache.

It is not in this package, which would be twice as large with it. Its tarball is checked by
SHA-256 each time it is read, so that only the version that was tried can get into a page.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from sagan.errors import SaganError, UnreadableError
from sagan.storage.files import cache_folder, read_file, write_bytes

VERSION = "1.30.0"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
MEGABYTES = 33
SCRIPT, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"

_PACKAGE = f"onnxruntime-web@{VERSION}"
_TARBALL = f"onnxruntime-web-{VERSION}.tgz"  # as npm names it
_SECONDS = 600.0


def browser_runtime(say: Callable[[str], None]) -> dict[str, bytes]:
    """Return the files that a page needs: {name: content}, 14 MB.

    Args:
        say: called with a line before anything is downloaded.

    Raises:
        SaganError: it is not in the cache, and npm is missing or cannot fetch it; or what is in
            the cache is damaged.
    """
    path = cache_folder("browser") / _TARBALL
    if not path.is_file():
        say(f"fetching {_PACKAGE} with npm, once: {MEGABYTES} MB, kept as '{path}'")
        content = _packed_by_npm(path)
        _check(content, f"npm gave another file for {_PACKAGE} than the one that was tried")
        write_bytes(path, content)
    try:
        content = read_file(path)
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None
    _check(content, f"'{path}' is damaged: delete it to fetch it again")
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        return {name: _member(archive, f"package/dist/{name}") for name in (SCRIPT, BINARY)}


def _check(content: bytes, problem: str) -> None:
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SaganError(problem)


def _packed_by_npm(path: Path) -> bytes:
    """Return the tarball as npm fetches it, from wherever npm is configured to."""
    npm = shutil.which("npm")
    if npm is None:
        raise SaganError(f"{_needed(path)}, and npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", _PACKAGE, "--ignore-scripts", "--silent", "--fetch-retries=0"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SaganError(f"{_needed(path)}, and npm could not ({error})") from None
        packed = Path(folder) / _TARBALL
        if done.returncode or not packed.is_file():
            raise SaganError(f"{_needed(path)}, and npm could not: is there a network?")
        return packed.read_bytes()


def _needed(path: Path) -> str:
    return (
        f"a static page needs {_PACKAGE}; run 'npm pack {_PACKAGE}' where there is a network and "
        f"save the file as '{path}'. Here it had to be fetched"
    )


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None, f"{name} is a regular file of the version that was checked"
    return member.read()
