"""Hostile entries: links, pipes, devices, huge files and odd names in the place of sound ones."""

import json
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing.contents import mutate

SECRET = "secret-of-the-decoy"
# What links lead to outside the decoy; no command has a reason to open any of these.
ELSEWHERE = ("/etc/passwd", "/dev/zero", "/dev/full", "/proc/self/environ")
GIB = 2**30
ODD_NAMES = ("a\nb", "\x1b[31mred", "x" * 250, "-rf", "<b>&", "\udcff\udcfe", "é" * 120, "a:b*?")


@dataclass(frozen=True)
class Setting:
    """Where a case takes place.

    Attributes:
        victim: the file or folder that a command is given.
        decoy: a tree outside that must neither change nor be read.
        huge: a folder with huge files, made once.
    """

    victim: Path
    decoy: Path
    huge: Path


Change = Callable[[Path, Setting, random.Random], str]


def change_entry(setting: Setting, kind: str, rng: random.Random) -> str:
    """Make one change of a kind somewhere at or below the victim, and describe it."""
    if kind == "content":
        return mutate(setting.victim, rng)
    entries = [setting.victim, *sorted(setting.victim.rglob("*"))]
    if kind in ("link", "hard link", "unreadable") and len(entries) > 1:
        entries = entries[1:]  # what the user names may be a link
    elif kind == "link" and setting.victim.is_dir():
        return "nothing: empty"
    if kind == "name":
        entries = [entry for entry in entries if entry.is_dir()] or entries
    if kind in ("huge text", "huge header"):
        suffixes = (
            (".safetensors",) if kind == "huge header" else (".json", ".jsonl", ".md", ".txt")
        )
        entries = [entry for entry in entries if entry.suffix in suffixes] or entries
    entry = rng.choice(entries)
    shown = entry.relative_to(setting.victim.parent)
    return f"{shown}: {CHANGES[kind](entry, setting, rng)}"


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _counterpart(entry: Path, setting: Setting) -> Path:
    """Return the decoy's sound copy of an entry: the most tempting thing to read."""
    return setting.decoy / entry.relative_to(setting.victim.parent)


def _link(entry: Path, setting: Setting, rng: random.Random) -> str:
    tempting = str(_counterpart(entry, setting))
    target = rng.choice([
        tempting, tempting, tempting, str(setting.decoy / "text.txt"), str(setting.decoy),
        str(setting.decoy / "new"), "..", entry.name, *ELSEWHERE,
    ])  # fmt: skip
    _remove(entry)
    entry.symlink_to(target)
    return f"a link to {target}"


def _hard_link(entry: Path, setting: Setting, rng: random.Random) -> str:
    target = _counterpart(entry, setting)
    if not target.is_file() or rng.random() < 0.3:
        target = setting.decoy / "text.txt"
    _remove(entry)
    entry.hardlink_to(target)
    return f"a hard link to {target}"


def _pipe(entry: Path, setting: Setting, rng: random.Random) -> str:
    _remove(entry)
    if rng.random() < 0.3:
        with socket.socket(socket.AF_UNIX) as listener:
            here = os.open(entry.parent, os.O_RDONLY)  # a socket's path must be short
            listener.bind(f"/proc/self/fd/{here}/{entry.name}")
            os.close(here)
        return "a socket"
    os.mkfifo(entry)
    return "a pipe"


def _device(entry: Path, setting: Setting, rng: random.Random) -> str:
    """Make a device node; only root may."""
    minor = rng.choice([3, 5, 7, 8])  # null, zero, full, random
    _remove(entry)
    os.mknod(entry, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    return f"the device (1, {minor})"


def _sparse(entry: Path, setting: Setting, rng: random.Random) -> str:
    size = rng.choice([1, 3, 7, 40, 900]) * GIB
    kept = entry.is_file() and rng.random() < 0.5
    if not kept:
        _remove(entry)
        entry.touch()
    os.truncate(entry, size)
    return f"{size // GIB} GiB, {'sound at its beginning' if kept else 'zeros'}"


def _huge(entry: Path, setting: Setting, rng: random.Random) -> str:
    lines = entry.suffix == ".jsonl"
    made = rng.choice(sorted(setting.huge.glob("*.jsonl" if lines else "*.json")))
    _remove(entry)
    entry.hardlink_to(made)
    return made.name


def _huge_header(entry: Path, setting: Setting, rng: random.Random) -> str:
    made = rng.choice(sorted(setting.huge.glob("*.safetensors")))
    _remove(entry)
    entry.hardlink_to(made)
    return made.name


def _other_type(entry: Path, setting: Setting, rng: random.Random) -> str:
    was_folder = entry.is_dir()
    _remove(entry)
    if rng.random() < 0.3:
        return "removed"
    if was_folder and rng.random() < 0.5:
        entry.touch()
        return "a file for a folder"
    entry.mkdir()
    return "an empty folder"


def _unreadable(entry: Path, setting: Setting, rng: random.Random) -> str:
    """Take permissions; the command then runs without root's rights to ignore them."""
    mode = rng.choice([0, 0, 0o222, 0o444, 0o555])
    entry.chmod(mode)
    return f"mode {mode:o}"


def _name(entry: Path, setting: Setting, rng: random.Random) -> str:
    """Rename an entry of a folder, or add many or odd ones."""
    if not entry.is_dir():
        renamed = entry.with_name(rng.choice(ODD_NAMES[:3])[:200] + entry.suffix)
        entry.rename(renamed)
        return f"renamed to {renamed.name[:40]!r}"
    found = sorted(entry.iterdir())
    number = rng.choice([0, 7, 99_999_999, 10**30])
    name = rng.choice([*ODD_NAMES, f"step-{number:08d}", f"step-{number:08d}.png", ".x.tmp"])
    if found and rng.random() < 0.4:
        one = rng.choice(found)
        suffix = one.suffix if rng.random() < 0.5 else ""
        one.rename(entry / (name.encode(errors="surrogateescape")[:240].decode(
            errors="surrogateescape") + suffix))  # fmt: skip
        return f"{one.name} renamed to {name[:40]!r}"
    if rng.random() < 0.2:
        for i in range(3000):
            (entry / f"step-{i:08d}").touch()
        return "3,000 more"
    new = entry / name
    kind = rng.choice(["file", "folder", "link", "deep"])
    if kind == "link":
        new.symlink_to(setting.decoy)
    elif kind == "file":
        new.write_text(SECRET[:3])
    elif kind == "folder":
        new.mkdir()
    else:
        (new / "/".join(["d" * 100] * 20)).mkdir(parents=True)
    return f"a {kind} more, {name[:40]!r}"


CHANGES: dict[str, Change] = {
    "link": _link,
    "hard link": _hard_link,
    "pipe": _pipe,
    "device": _device,
    "sparse": _sparse,
    "huge text": _huge,
    "huge header": _huge_header,
    "other type": _other_type,
    "unreadable": _unreadable,
    "name": _name,
}
KINDS = ("content", *CHANGES)
HUGE = ("huge text", "huge header")
NEED_ROOT = ("device",)


def make_huge_files(folder: Path) -> None:
    """Write the files that `huge text` and `huge header` link to."""
    folder.mkdir(parents=True)
    (folder / "16 MiB of keys.json").write_text(json.dumps({f"key{i}": i for i in range(800_000)}))
    (folder / "8 MiB of brackets.json").write_text("[" * 2**23)
    (folder / "15 MiB of numbers.json").write_text("[" + "0," * (15 * 2**19) + "0]")
    (folder / "one long text.json").write_text(json.dumps({"config": "x" * 15_000_000}))
    (folder / "300 MiB.json").write_text('{"a": [' + "0," * (300 * 2**19) + "0]}")
    record = json.dumps({"step": 1, **{f"loss/{i}": 0.5 for i in range(30)}}) + "\n"
    for size in (63, 400):
        path = folder / f"{size} MiB of records.jsonl"
        path.write_text(record * (size * 2**20 // len(record)))
    (folder / "small records.jsonl").write_text('{"step":7,"a":1}\n' * 3_000_000)
    names = "".join(json.dumps({"step": i, f"n{i}": 1}) + "\n" for i in range(500_000))
    (folder / "500,000 names.jsonl").write_text(names)
    (folder / "one line.jsonl").write_text(
        json.dumps({"step": 1, **{f"loss/{i}": 0.5 for i in range(1_500_000)}}) + "\n"
    )
    (folder / "one endless line.jsonl").write_text("[" * 2**25)
    for size in (3, 90):
        num = size * 2**20 // 64
        tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        header = json.dumps({f"t{i}": tensor for i in range(num)}).encode()
        path = folder / f"header of {size} MiB.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    wide = {"generator.x": {"dtype": "F32", "shape": [2**33], "data_offsets": [0, 2**35]}}
    header = json.dumps(wide).encode()
    path = folder / "32 GiB tensor.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2**35)
