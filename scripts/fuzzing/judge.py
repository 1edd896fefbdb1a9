"""Carry out one case in a child process, and judge what it did.

A child must end by itself with exit status 0 or 2, in time and in little memory, say what is wrong
in short lines, and leave everything outside its folder as it was: neither changed nor, through a
link in what it was given, read. What is read by Python is seen by an audit hook, which judges a
path by where its links lead; what is read by native code is seen by the decoy's times of access.
"""

import ctypes
import os
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from fuzzing.entries import ELSEWHERE, GIB, SECRET

SECONDS = 10  # that a command may take, without the time it waits for a processor
STOP_SECONDS = 120  # by the clock
STOP_BYTES = 3 * GIB // 2  # so that the machine does not run out
MAX_LINE = 520  # characters of a refusal


class Decoy:
    """A tree outside of everything that a command is given, with what a thief would want.

    Args:
        folder: its root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = self._state()
        self._rewind()

    def _paths(self) -> Iterator[Path]:
        yield self.folder
        yield from sorted(self.folder.rglob("*"))

    def _state(self) -> dict[str, tuple[object, ...]]:
        state: dict[str, tuple[object, ...]] = {}
        for path in self._paths():
            found = path.lstat()
            digest = sha256(path.read_bytes()).digest() if path.is_file() else b""
            state[str(path)] = (found.st_mode, found.st_size, found.st_mtime_ns, digest)
        return state

    def _rewind(self) -> None:
        """Make all times of access old, so that the next access is recorded."""
        for path in self._paths():
            os.utime(path, ns=(1, path.stat().st_mtime_ns))

    def problems(self, *, reading: bool) -> Iterator[str]:
        """Yield what has changed and, if `reading` counts, what was read; then start again."""
        if reading:
            # First of all: looking for changes reads the files.
            for path in self._paths():
                if path.is_file() and path.stat().st_atime_ns != 1:
                    yield f"read {path}"
        after = self._state()
        for name in sorted(self._before.keys() | after.keys()):
            if self._before.get(name) != after.get(name):
                yield f"changed outside: {name}"
        self._before = after
        self._rewind()


class Audit:
    """Sees what Python opens, changes and starts, in a child process until its end.

    Args:
        place: the folder in which files may be changed.
        decoy: the folder of which nothing may be read.
        follows: whether links may be followed for reading.
        report: called with each trespass.
    """

    # By event, how many arguments precede those that may be descriptors of open folders.
    NAMES: ClassVar = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.link": 2,
             "os.symlink": 2, "os.truncate": 2, "os.chmod": 2, "os.chown": 3}  # fmt: skip
    NEVER = ("os.system", "socket.connect", "pickle.find_class", "os.exec", "os.posix_spawn")

    def __init__(
        self, place: Path, decoy: Path, *, follows: bool, report: Callable[[str], None]
    ) -> None:
        self.place, self.decoy, self.follows, self.report = str(place), str(decoy), follows, report
        self._busy = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            if self._is_trespass(event, arguments):
                self.report(f"{event} {arguments}")
        finally:
            self._busy = False

    def _is_trespass(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):  # a descriptor: its file was seen when it was opened
                return False
            target = self._target(path, bool(flags & os.O_NOFOLLOW))
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                return not (self._inside(target, self.place) or target == os.devnull)
            forbidden = target in ELSEWHERE or target == f"/proc/{os.getpid()}/environ"
            return not self.follows and (forbidden or self._inside(target, self.decoy))
        if event in self.NAMES:
            # Paths relative to an open folder are allowed: the folder was seen when it was opened.
            paths = [path for path in arguments if isinstance(path, (str, bytes, os.PathLike))]
            places = arguments[self.NAMES[event] :]
            if any(isinstance(number, int) and number > 2 for number in places):
                return False
            keeps_links = event not in ("os.truncate", "os.chmod", "os.chown")
            paths = paths[1:] if event == "os.symlink" else paths
            return not all(
                self._inside(self._target(path, keeps_links), self.place) for path in paths
            )
        if event == "subprocess.Popen":  # decoding an upload
            return str(arguments[0]) != sys.executable
        return event in self.NEVER

    @staticmethod
    def _target(path: Any, keep_link: bool) -> str:
        """Return where a path leads; its last part may be a link that is not followed."""
        whole = os.fsdecode(path)
        if keep_link:
            folder, name = os.path.split(whole)
            return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
        return os.path.realpath(whole)

    @staticmethod
    def _inside(path: str, folder: str) -> bool:
        return path == folder or path.startswith(folder + os.sep)


@dataclass
class Verdict:
    """What a case did.

    Attributes:
        status: the exit status; negative if a signal ended it.
        problems: what it must not do; empty if all is well.
        seconds: without waiting for a processor.
        mebibytes: the most memory.
        message: what it printed at last.
    """

    status: int
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    mebibytes: int = 0
    message: str = ""


def carry_out(
    act: Callable[[], None],
    place: Path,
    decoy: Decoy,
    *,
    follows: bool,
    reads: bool,
    without_rights: bool,
) -> Verdict:
    """Call `act` in a child process and judge it.

    Args:
        act: ends with SystemExit.
        place: the folder in which files may be changed; OUT, the child's files, are in it.
        decoy: what must stay untouched.
        follows: whether links may be followed for reading.
        reads: whether reading the decoy counts: a file with two names may be read by the other.
        without_rights: give up root's rights first.
    """
    log = place / "log"
    log.mkdir()
    child = os.fork()
    if child == 0:
        _be_child(act, place, decoy.folder, log, follows, without_rights)
    status, seconds, memory, stopped = _wait(child)
    verdict = Verdict(status, seconds=seconds, mebibytes=memory // 2**20)
    problems = verdict.problems
    out, err = ((log / name).read_text(errors="replace") for name in ("out", "err"))
    problems += (log / "trespasses").read_text(errors="replace").splitlines()
    if stopped:
        problems.append(f"stopped: {stopped}")
    elif seconds > SECONDS:
        problems.append(f"took {seconds:.1f} s")
    if memory > GIB:
        problems.append(f"took {memory // 2**20} MiB")
    if status not in (0, 2):
        problems.append(f"exit status {status}")
    if "Traceback" in out + err:
        problems.append("a traceback")
    lines = err.splitlines()
    problems += [f"a line of {len(line)} characters" for line in lines if len(line) > MAX_LINE]
    refusals = [line for line in lines if not line.startswith("sagan: warning:")]
    one_line = len(refusals) == 1 and refusals[0].startswith("sagan: ")
    if status == 2 and not (one_line or err.startswith("Usage: ")):
        problems.append(f"{len(refusals)} lines for a refusal")
    problems += decoy.problems(reading=reads and not follows)
    if reads and not follows and _says_secret(place):
        problems.append("wrote what is secret")
    verdict.message = (lines or out.splitlines() or [""])[-1]
    if problems:
        verdict.message = f"{out[-1500:]}\n{err[-3000:]}"
    return verdict


def _says_secret(place: Path) -> bool:
    secrets = (SECRET.encode(), b"root:x:0:0")
    for path in [*(place / "out").rglob("*"), *(place / "log").iterdir()]:
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**26:
            content = path.read_bytes()
            if any(secret in content for secret in secrets):
                return True
    return False


def _wait(child: int) -> tuple[int, float, int, str]:
    """Return status, seconds, the most bytes of memory, and why it was stopped, if it was."""
    started, stopped, most, waited = time.monotonic(), "", 0, 0.0
    descriptor = os.pidfd_open(child)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(50):
        most = max(most, _resident(child))
        waited = _waited(child)
        if most > STOP_BYTES:
            stopped = f"{most // 2**20} MiB of memory"
        elif time.monotonic() - started - waited > 3 * SECONDS:
            stopped = f"no end after {3 * SECONDS} s"
        elif time.monotonic() - started > STOP_SECONDS:
            stopped = f"no end after {STOP_SECONDS} s by the clock"
        if stopped:
            os.kill(child, signal.SIGKILL)
            break
    waited = _waited(child) or waited
    seconds = time.monotonic() - started - waited
    _, status, usage = os.wait4(child, 0)
    os.close(descriptor)
    scale = 1 if sys.platform == "darwin" else 1024
    code = os.waitstatus_to_exitcode(status)
    return code, max(0.0, seconds), max(most, usage.ru_maxrss * scale), stopped


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


def _waited(process: int) -> float:
    """Return the seconds that a process has waited for a processor: others use it, too."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _be_child(
    act: Callable[[], None],
    place: Path,
    decoy: Path,
    log: Path,
    follows: bool,
    without_rights: bool,
) -> None:
    status = 1
    try:
        for name, number in (("out", 1), ("err", 2)):
            opened = os.open(log / name, os.O_WRONLY | os.O_CREAT)
            os.dup2(opened, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.dont_write_bytecode = True  # of modules that are imported for the first time
        trespasses = os.open(log / "trespasses", os.O_WRONLY | os.O_CREAT)
        os.chdir(place)
        os.environ |= {"TMPDIR": str(place / "tmp"), "SAGAN_CACHE": str(place / "cache"),
                       "HOME": str(place / "tmp"), "COLUMNS": "100"}  # fmt: skip
        (place / "tmp").mkdir()
        tempfile.tempdir = None  # look it up again
        if without_rights:
            _give_up_rights()

        def report(line: str) -> None:
            os.write(trespasses, f"{line[:300]}\n".encode(errors="replace"))

        Audit(place, decoy, follows=follows, report=report)
        act()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = 1
        os._exit(status)


def _give_up_rights() -> None:
    """Make permissions matter: root keeps its files, but may no longer ignore their modes."""
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "cannot give up root's rights")


def remove(place: Path) -> None:
    """Remove a case's folder, whatever is in it."""
    for path in (place, *place.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(place)
