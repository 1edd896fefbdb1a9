"""Changes to the content of files: bytes, lengths, JSON values."""

import json
import random
from pathlib import Path
from typing import Any

ELSEWHERE = "/etc/passwd"  # no loader has a reason to open it

VALUES = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    f"../../../../../..{ELSEWHERE}", ELSEWHERE, "\0", "\n", "\ud800", "é" * 1000, [], {}, [[]] * 50,
    {"a": {"b": {}}}, "256", "auto",
]  # fmt: skip


def mutate(path: Path, rng: random.Random) -> str:
    """Change one file or name at or below `path` in place, and describe the change."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if not files:
        return "nothing: empty"
    file = rng.choice(files)
    if rng.random() < 0.1:
        return f"{file.name}: {_mutate_name(file, rng.choice(files), rng)}"
    content = file.read_bytes()
    if file.suffix == ".json" and rng.random() < 0.7:
        value = json.loads(content)
        change = _mutate_json(value, rng)
        file.write_text(json.dumps(value))
        return f"{file.name}: {change}"
    if file.suffix == ".safetensors" and rng.random() < 0.5:
        change, content = _mutate_header(content, rng)
    else:
        change, content = _mutate_bytes(content, rng)
    file.write_bytes(content)
    return f"{file.name}: {change}"


def _mutate_name(file: Path, other: Path, rng: random.Random) -> str:
    """Remove a file or exchange it with another, and describe the change."""
    if rng.random() < 0.3:
        file.unlink()
        return "removed"
    one, another = file.read_bytes(), other.read_bytes()
    file.write_bytes(another)
    other.write_bytes(one)
    return f"exchanged with {other.name}"


def _mutate_json(value: Any, rng: random.Random) -> str:
    """Replace or remove one entry somewhere in a tree of dicts and lists; describe the change."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return "nothing: empty"
        key = rng.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        if rng.random() < 0.2:
            del value[key]
            return f"removed {key!r}"
        value[key] = rng.choice(VALUES)
        return f"{key!r} = {str(value[key])[:40]!r}"


def _mutate_header(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Change an entry of a safetensors header; its stated length may then be wrong."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change = _mutate_metadata(header, rng) if rng.random() < 0.5 else ""
    change = change or _mutate_json(header, rng)
    text = json.dumps(header).encode()
    size = len(text) if rng.random() < 0.8 else rng.choice([0, 2**40, 2**63, len(text) + 8])
    return f"header {change}", size.to_bytes(8, "little") + text + content[8 + length :]


def _mutate_metadata(header: dict[str, Any], rng: random.Random) -> str:
    """Change an entry of the configuration or the classes, which are JSON inside the header."""
    metadata = header["__metadata__"]
    inner = sorted(key for key in ("config", "classes") if key in metadata)
    if not inner:
        return ""
    key = rng.choice(inner)
    value = json.loads(metadata[key])
    change = _mutate_json(value, rng)
    metadata[key] = json.dumps(value)
    return f"{key} {change}"


def _mutate_bytes(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    kind = rng.choice(["flip", "cut", "insert", "zero", "empty", "number"])
    at = rng.randrange(len(content) + 1)
    # Most of a file is numbers; the interesting parts are at its beginning and end.
    near = rng.choice(["anywhere", "beginning", "end"])
    if near == "beginning":
        at = min(at, rng.randrange(200))
    elif near == "end":
        at = max(at, len(content) - rng.randrange(1, 200), 0)
    if kind == "flip" and content:
        at = min(at, len(content) - 1)
        flipped = content[at] ^ (1 << rng.randrange(8))
        return f"flip at {at}", content[:at] + bytes([flipped]) + content[at + 1 :]
    if kind == "cut":
        return f"cut at {at}", content[:at]
    if kind == "insert":
        return f"insert at {at}", content[:at] + rng.randbytes(8) + content[at:]
    if kind == "zero":
        zeros = bytes(len(content[at : at + 64]))
        return f"zeros at {at}", content[:at] + zeros + content[at + 64 :]
    if kind == "number":
        number = rng.choice([0xFFFFFFFF, 0x7FFFFFFF, 2**16, 0])
        order = rng.choice(["little", "big"])
        return f"{number} at {at}", content[:at] + number.to_bytes(4, order) + content[at + 4 :]
    return "empty", b""
