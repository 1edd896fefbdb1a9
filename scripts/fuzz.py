"""Give hostile files to every command: each must load them or refuse in one short line, harmlessly.

    python scripts/fuzz.py --cases 10000 --jobs 2
    python scripts/fuzz.py --cases 200 --command report --kind link --seed 7
    python scripts/fuzz.py --only 4711

Takes sound run directories, model files, packed sets, study folders, evaluations and images in
every kind of container. In each case one entry, anywhere in them, becomes something else: a link, a
hard link, a pipe, a socket, a device, a sparse or huge file, a folder, a file without permissions,
an odd name; or its content is changed. Then a command is carried out, `sagan explore` with requests
to its server. `fuzzing/judge.py` says what counts as a failure. For devices and permissions it must
run as root, and Linux is needed.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzzing import commands, entries, judge, sound
from fuzzing.commands import COMMANDS, Command

Outcome = dict[str, Any]  # of a case, as a worker reports it


def main() -> int:
    """Carry out the cases and print a table; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no case after this time")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--only", type=int, action="append", help="number of a case; repeatable")
    parser.add_argument(
        "--command", action="append", help="by default all, see fuzzing/commands.py"
    )
    parser.add_argument("--kind", action="append", choices=entries.KINDS, help="by default all")
    parser.add_argument(
        "--no-huge",
        action="store_true",
        help="without huge text and headers, which take long to make",
    )
    asked = parser.parse_args()
    chosen = [c for c in COMMANDS if asked.command is None or c.name in asked.command]
    kinds = asked.kind or [
        kind for kind in entries.KINDS
        if (os.geteuid() == 0 or kind not in entries.NEED_ROOT)
        and not (asked.no_huge and kind in entries.HUGE)
    ]  # fmt: skip
    numbers = asked.only or range(asked.start, asked.start + asked.cases)
    with tempfile.TemporaryDirectory(prefix="sagan-fuzz-") as name:
        folder = Path(name).resolve()
        _prepare(folder, huge=not asked.no_huge)
        started = time.monotonic()
        outcomes = list(_all_outcomes(folder, chosen, kinds, asked, list(numbers)))
    return _report(outcomes, time.monotonic() - started)


def _prepare(folder: Path, *, huge: bool) -> None:
    """Make the sound files in a process of their own, so that this one computes nothing."""
    commands.preload()  # for that process, too
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sound.build(folder / "sound")
            if huge:
                entries.make_huge_files(folder / "huge")
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit("the sound files cannot be made")


def _all_outcomes(
    folder: Path, chosen: list[Command], kinds: list[str], asked: Any, numbers: list[int]
) -> Iterator[Outcome]:
    """Yield outcomes from workers that share the cases, and print failures as they come."""
    reader, writer = os.pipe()
    workers = []
    for job in range(asked.jobs):
        child = os.fork()
        if child == 0:
            os.close(reader)
            status = 1
            try:
                worker = Worker(folder, folder / f"worker{job}", asked.seed)
                deadline = time.monotonic() + 60 * asked.minutes
                for outcome in worker.outcomes(chosen, kinds, numbers[job :: asked.jobs]):
                    os.write(writer, (json.dumps(outcome) + "\n").encode())
                    if time.monotonic() > deadline:
                        break
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        workers.append(child)
    os.close(writer)
    with os.fdopen(reader) as lines:
        for done, line in enumerate(lines, start=1):
            outcome = json.loads(line)
            if outcome["problems"]:
                _show(outcome)
            if done % 250 == 0:
                print(f"{done} done", flush=True)
            yield outcome
    if any(os.waitpid(child, 0)[1] for child in workers):
        sys.exit("a worker ended early")


class Worker:
    """Carries out cases one after the other, with a decoy of its own.

    Args:
        folder: contains the sound files.
        own: its folder, to be made.
        seed: decides all cases, each by its number.
    """

    def __init__(self, folder: Path, own: Path, seed: int) -> None:
        self.sound, self.huge, self.own, self.seed = folder / "sound", folder / "huge", own, seed
        own.mkdir()
        decoy = own / "decoy"
        shutil.copytree(self.sound, decoy)
        (decoy / "text.txt").write_text(f"{entries.SECRET}\n")
        self.decoy = judge.Decoy(decoy)

    def outcomes(
        self, chosen: list[Command], kinds: list[str], numbers: list[int]
    ) -> Iterator[Outcome]:
        """Yield the outcomes of sound files, which must load, and of the cases of these numbers."""
        for command in chosen:
            for target in command.targets:
                outcome = self._outcome(command, target, "none", random.Random(0), -1)
                if outcome["status"]:
                    outcome["problems"].append("sound, but refused")
                yield outcome
        for number in numbers:
            rng = random.Random(f"{self.seed}-{number}")
            command, target = commands.choose(rng, tuple(chosen))
            yield self._outcome(command, target, rng.choice(kinds), rng, number)

    def _outcome(
        self, command: Command, target: str, kind: str, rng: random.Random, number: int
    ) -> Outcome:
        place = self.own / "place"
        out, victim = place / "out", place / "given" / target
        out.mkdir(parents=True)
        victim.parent.mkdir()
        source = self.sound / target
        (shutil.copytree if source.is_dir() else shutil.copy)(source, victim)
        change = "as it is"
        if kind != "none":
            setting = entries.Setting(victim, self.decoy.folder, self.huge)
            change = entries.change_entry(setting, kind, rng)
        words = commands.line_for(command, victim, out, self.sound)
        seed = rng.randrange(2**32)
        verdict = judge.carry_out(
            lambda: commands.run(words, out, seed), place, self.decoy,
            # The user has named the victim itself, and what that leads to.
            follows=command.follows or (kind == "link" and source.is_file()),
            reads=kind != "hard link",  # of a file with two names, both are its own
            without_rights=kind == "unreadable" and os.geteuid() == 0,
        )  # fmt: skip
        judge.remove(place)
        return {"number": number, "command": command.name, "target": target, "kind": kind,
                "change": change, **vars(verdict)}  # fmt: skip


def _show(outcome: Outcome) -> None:
    where = f"{outcome['number']}: {outcome['command']}, {outcome['target']}, {outcome['change']!r}"
    print(f"FAILED {where}: {'; '.join(outcome['problems'][:5])}\n{outcome['message']}", flush=True)


def _report(outcomes: list[Outcome], seconds: float) -> int:
    """Print how many were refused, loaded and mishandled, by command and kind."""
    cases = [outcome for outcome in outcomes if outcome["kind"] != "none"]
    kinds = [kind for kind in entries.KINDS if any(c["kind"] == kind for c in cases)]
    names = [c.name for c in COMMANDS if any(case["command"] == c.name for case in cases)]
    print(f"{'refused/loaded/failed':24}" + "".join(f"{kind:>13}" for kind in (*kinds, "all")))
    for name in (*names, "all"):
        cells = []
        for kind in (*kinds, "all"):
            found = Counter(
                "failed" if c["problems"] else "refused" if c["status"] else "loaded"
                for c in cases
                if name in (c["command"], "all") and kind in (c["kind"], "all")
            )
            cells.append(f"{found['refused']}/{found['loaded']}/{found['failed']}")
        print(f"{name:24}" + "".join(f"{cell:>13}" for cell in cells))
    failed = sum(bool(outcome["problems"]) for outcome in outcomes)
    refused = sum(c["status"] == 2 and not c["problems"] for c in cases)
    print(f"{len(cases)} cases in {seconds:.0f} s: {refused} refused in one line, {failed} failed, "
          f"the others loaded; at most {max(o['seconds'] for o in outcomes):.1f} s and "
          f"{max(o['mebibytes'] for o in outcomes)} MiB for one")  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
