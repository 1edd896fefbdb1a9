"""Change the program in small ways, one at a time: the tests must notice each of them.

    python scripts/mutation.py losses ema
    python scripts/mutation.py attention --sample 40 --seed 1

Takes a random sample of the mutants of each part, from copies of the tracked files, and runs the
tests that belong to that part on each. A mutant that they let pass survives and is printed: either
an assertion is missing, or the change makes no difference that matters. What has been found is kept
in `results/mutation/`, so that an interrupted run resumes, and a larger sample adds to a smaller
one; another version of the module or of its tests starts from nothing. Needs the development
installation and a system that can fork.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import cache_from_source
from pathlib import Path

from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
ENOUGH = 0.95  # the share of mutants that must be killed
PRELOADED = ("torch", "numpy", "PIL.Image", "pydantic", "hypothesis.strategies", "pytest")


@dataclass(frozen=True)
class Part:
    """Modules and the tests that belong to them, as paths in the repository."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    "attention": Part(
        ("sagan/nn/attention.py", "sagan/nn/attention_kernels.py"), ("tests/nn/test_attention.py",)
    ),
    "spectral": Part(
        ("sagan/nn/spectral_norm.py", "sagan/nn/stacked_norms.py"),
        ("tests/nn/test_spectral_norm.py", "tests/nn/test_stacked_norms.py"),
    ),
    "steps": Part(
        ("sagan/training/steps.py", "sagan/training/passes.py"),
        ("tests/training/test_steps.py", "tests/training/test_finite.py"),
    ),
    "losses": Part(("sagan/nn/losses.py",), ("tests/nn/test_losses.py",)),
    "augment": Part(("sagan/nn/augment.py",), ("tests/nn/test_augment.py",)),
    "ema": Part(("sagan/training/ema.py",), ("tests/training/test_ema.py",)),
    "metrics": Part(
        tuple(
            f"sagan/metrics/measures/{name}.py"
            for name in ("density_coverage", "distances", "frechet", "inception_score", "inputs",
                         "kernel", "precision_recall")
        ),
        ("tests/metrics/measures/test_edges.py", "tests/metrics/measures/test_inputs.py",
         "tests/metrics/measures/test_numbers.py"),
    ),
}  # fmt: skip


def main() -> int:
    """Try the mutants; return 1 if too many survived in a part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--sample", type=int, default=30, help="mutants of each part; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--list", action="store_true", help="only print how many there are")
    asked = parser.parse_args()
    names = asked.parts or list(PARTS)
    if unknown := sorted(set(names) - set(PARTS)):
        parser.error(f"no part '{unknown[0]}': choose from {', '.join(PARTS)}")
    if asked.list:
        for name in names:
            print(f"{name}: {len(_all_mutants(PARTS[name]))} mutants")
        return 0
    for module in PRELOADED:
        __import__(module)
    enough = True
    for name in names:
        sample = _sample(_all_mutants(PARTS[name]), asked.sample, f"{asked.seed}-{name}")
        enough &= _try_part(name, sample)
    return 0 if enough else 1


def _all_mutants(part: Part) -> list[tuple[str, Mutant]]:
    return [
        (module, mutant)
        for module in part.modules
        for mutant in mutants_of((ROOT / module).read_bytes())
    ]


def _sample(mutants: list[tuple[str, Mutant]], size: int, seed: str) -> list[tuple[str, Mutant]]:
    """Return the first of a random order, so that a larger sample contains a smaller one."""
    order = list(mutants)
    random.Random(seed).shuffle(order)
    return order[: size or len(order)]


def _try_part(name: str, sample: list[tuple[str, Mutant]]) -> bool:
    """Try a sample, print what survives, and return whether enough were killed."""
    part, survived = PARTS[name], 0
    record = Record(ROOT / "results" / "mutation" / f"{name}.jsonl", _version(part))
    with tempfile.TemporaryDirectory(prefix="sagan-mutation-") as folder:
        copy = None  # until a mutant has not been tried before
        for module, mutant in sample:
            noticed = record.get(module, mutant)
            if noticed is None:
                copy = copy or Copy(Path(folder), part)
                noticed = copy.is_noticed(module, mutant)
                record.add(module, mutant, noticed)
            if not noticed:
                survived += 1
                print(f"{module}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
    killed = len(sample) - survived
    print(f"{name}: {killed} of {len(sample)} killed ({killed / len(sample):.0%})", flush=True)
    return killed >= ENOUGH * len(sample)


def _version(part: Part) -> str:
    """Return a digest of all that decides whether the tests notice a mutant."""
    digest = sha256()
    for path in (*part.modules, *part.tests):
        digest.update((ROOT / path).read_bytes())
    return digest.hexdigest()


class Record:
    """What was found about mutants, in a file that grows by a line for each.

    Args:
        path: the file.
        version: of the modules and tests; what was found about others is forgotten.
    """

    def __init__(self, path: Path, version: str) -> None:
        self._path, self._found = path, dict[str, bool]()
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and lines[0] == version:
            self._found = dict(json.loads(line) for line in lines[1:])
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{version}\n")

    def get(self, module: str, mutant: Mutant) -> bool | None:
        """Return whether a mutant was killed, None if it has not been tried."""
        return self._found.get(self._key(module, mutant))

    def add(self, module: str, mutant: Mutant, killed: bool) -> None:
        """Keep whether it was killed."""
        key = self._key(module, mutant)
        self._found[key] = killed
        with self._path.open("a") as file:
            file.write(json.dumps([key, killed]) + "\n")

    @staticmethod
    def _key(module: str, mutant: Mutant) -> str:
        return f"{module}:{mutant.start}-{mutant.end}: {mutant.after}"


class Copy:
    """A copy of the repository's files, in which mutants are tried.

    Args:
        folder: an empty folder for it.
        part: what is changed and tested.

    Raises:
        SystemExit: the tests fail without a change, so that they could not notice any.
    """

    def __init__(self, folder: Path, part: Part) -> None:
        self._folder, self._tests = folder, part.tests
        for name in _tracked_files():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
        status, seconds = self._test(seconds=3600, write_bytecode=True)
        if status:
            sys.exit(f"{' '.join(part.tests)}: the tests fail without any change")
        for module in part.modules:  # whose bytecode would hide a change within the same second
            Path(cache_from_source(str(folder / module))).unlink(missing_ok=True)
        self._seconds = 10 + 5 * seconds  # a mutant may loop without end

    def is_noticed(self, module: str, mutant: Mutant) -> bool:
        """Return whether the tests fail with this change."""
        path = self._folder / module
        source = path.read_bytes()
        path.write_bytes(mutant.apply(source))
        try:
            return self._test(self._seconds)[0] != 0
        finally:
            path.write_bytes(source)

    def _test(self, seconds: float, *, write_bytecode: bool = False) -> tuple[int, float]:
        """Return the tests' exit status, and the seconds of processor time that they took."""
        child = os.fork()  # of a process that has imported what takes long, and computed nothing
        if child == 0:
            self._be_tests(seconds, write_bytecode)
        try:
            _wait(child, 20 * seconds)
        except BaseException:
            os.kill(child, 9)
            os.waitpid(child, 0)
            raise
        _, status, usage = os.wait4(child, 0)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime

    def _be_tests(self, seconds: float, write_bytecode: bool) -> None:
        status = 1
        try:
            import pytest
            import torch

            limit = int(seconds) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(null, number)
            os.chdir(self._folder)
            sys.path[0] = str(self._folder)
            sys.dont_write_bytecode = not write_bytecode
            # The plugins of other packages take longer to import than most parts to test.
            os.environ |= {"PYTHONPATH": str(self._folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
            torch.set_num_threads(1)
            options = ["-x", "-q", "-p", "no:cacheprovider"]
            status = int(pytest.main([*options, *self._tests]))
        finally:
            os._exit(status)


def _wait(child: int, seconds: float) -> None:
    """Wait until a process has ended; after some seconds, end it."""
    until = time.monotonic() + seconds
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > until:
            os.kill(child, 9)
        time.sleep(0.02)


def _tracked_files() -> Iterator[str]:
    """Yield the names of files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    yield from (name for name in listed.split("\0") if name and (ROOT / name).is_file())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)
        sys.exit(130)
