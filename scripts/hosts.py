"""Train on several machines, simulated, and lose them: nothing is lost, nothing silently wrong.

    python scripts/hosts.py
    python scripts/hosts.py --hosts 2 --only restart

Each machine is a network namespace with a name of its own, which, as on Debian, stands for
127.0.1.1. All are connected by a bridge in another namespace, so that no address or interface of
this machine is touched. Needs Linux, root and iproute2; elsewhere it says so and ends.

A process per machine imports the package once and forks the commands, which makes starts quick.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE = 10  # seconds that the processes wait for a silent one
SLACK = 12  # seconds that a machine at work may add
STEPS = 24
SETTINGS = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 12, "augment": "adaptive",
    "checkpoint_every": 4, "sample_every": 1000, "log_every": 1, "evaluate_every": 0,
}  # fmt: skip
PORT = 29500
Codes = list[int | None]


def main() -> int:
    """Run all cases; return 1 if one did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, nargs="*", default=[2, 3])
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--agent", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.agent:
        serve_requests()
        return 0
    if missing := what_is_missing():
        print(f"skipped: {missing}")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):  # clean up first
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    remove_abandoned()
    failed = 0
    print(
        "| case | hosts | expected | seen | seconds | ok |\n| --- | --- | --- | --- | --- | --- |"
    )
    for number in arguments.hosts:
        with (
            tempfile.TemporaryDirectory(prefix="sagan-hosts-") as name,
            Cluster(number, Path(name)) as cluster,
        ):
            failed += run_cases(cluster, arguments.only)
    print(f"\n{failed} not as expected")
    return 1 if failed else 0


def what_is_missing() -> str:
    """Return why namespaces cannot be made here; empty if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux")):
        if not shutil.which(program):
            return f"'{program}' is missing (apt-get install {package})"
    probe = f"sagan{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces cannot be made here ({made.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return ""


def remove_abandoned() -> None:
    """Remove the namespaces of earlier calls that were killed."""
    found = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    for line in found.stdout.splitlines():
        made = re.match(r"sagan(\d+)(switch|n\d+|probe)\b", line)
        if made and not Path(f"/proc/{made[1]}").exists():
            _remove_namespace(made[0])


# ---------------------------------------------------------------------------------------------
# Machines


@dataclass
class Host:
    """A simulated machine."""

    number: int
    name: str
    namespace: str
    address: str
    prefix: list[str]  # runs a command there
    agent: subprocess.Popen[str] | None = None


class Cluster:
    """Machines connected by a bridge; everything is removed at the end.

    Args:
        number: how many.
        folder: an empty folder that all of them see.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self.folder = folder
        self._switch = f"sagan{os.getpid()}switch"
        self._stack = ExitStack()
        self.hosts = [
            Host(i, f"node{i}", f"sagan{os.getpid()}n{i}", f"10.77.0.{i}", [])
            for i in range(1, number + 1)
        ]

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            self._make_namespace(stack, self._switch)
            _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "bridge", "up")
            for host in self.hosts:
                self._make_host(stack, host)
            make_data(self.folder)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_namespace(self, stack: ExitStack, name: str) -> None:
        _ip("netns", "add", name)
        stack.callback(_remove_namespace, name)

    def _make_host(self, stack: ExitStack, host: Host) -> None:
        self._make_namespace(stack, host.namespace)
        port = f"port{host.number}"
        _ip("-n", host.namespace, "link", "add", "eth0", "type", "veth", "peer", "name", port,
            "netns", self._switch)  # fmt: skip
        _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
        _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        for interface in ("lo", "eth0"):
            _ip("-n", host.namespace, "link", "set", interface, "up")
        names = [f"{other.address} {other.name}" for other in self.hosts if other is not host]
        hosts_file = self.folder / f"{host.name}.hosts"
        hosts_file.write_text("\n".join(["127.0.0.1 localhost", f"127.0.1.1 {host.name}", *names]))
        script = f'hostname {host.name}; mount --bind {hosts_file} /etc/hosts; exec "$@"'
        host.prefix = [
            "ip", "netns", "exec", host.namespace, "unshare", "--uts", "--mount", "sh", "-c",
            script, "sh",
        ]  # fmt: skip
        agent = [*host.prefix, sys.executable, str(Path(__file__).resolve()), "--agent"]
        host.agent = subprocess.Popen(
            agent, stdin=subprocess.PIPE, text=True, env=environment(), cwd=self.folder
        )
        stack.callback(_end_agent, host.agent)

    def set_link(self, host: Host, state: str) -> None:
        """Cut a machine off ("down") or connect it again ("up"), at the bridge's end."""
        _ip("-n", self._switch, "link", "set", f"port{host.number}", state)

    @contextmanager
    def cut(self, host: Host) -> Iterator[None]:
        """Cut a machine off within the context."""
        self.set_link(host, "down")
        try:
            yield
        finally:
            self.set_link(host, "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _remove_namespace(name: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in found.stdout.split():
        _kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], check=False)


def _end_agent(agent: subprocess.Popen[str]) -> None:
    agent.kill()
    agent.wait()


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a command: this checkout, one thread, no launcher's variables."""
    inherited = {
        key: value for key, value in os.environ.items()
        if not key.startswith(("ACCELERATE", "TORCHELASTIC", "GLOO_"))
    }  # fmt: skip
    return inherited | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "SAGAN_PATIENCE": str(PATIENCE), "TORCH_CPP_LOG_LEVEL": "FATAL", **more,
    }  # fmt: skip


def make_data(folder: Path) -> None:
    """Make two folders of 100 images of noise, packed: "data" and "other"."""
    import numpy as np
    from PIL import Image

    from sagan.data import open_source, pack

    for seed, name in enumerate(("data", "other")):
        images = folder / f"{name}-images"
        images.mkdir()
        rng = np.random.default_rng(seed)
        for i in range(100):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{i}.png")
        pack(open_source(str(images)), folder / name, 32)


# ---------------------------------------------------------------------------------------------
# The process that starts commands on a machine


def serve_requests() -> None:
    """Fork a command for each line of JSON on standard input."""
    import matplotlib.pyplot  # noqa: F401 -- imported once, not in every command
    import torch._dynamo  # noqa: F401

    import sagan.cli.app
    import sagan.display
    import sagan.training.loop  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            _launch(json.loads(line))


def _launch(request: dict[str, Any]) -> None:
    """Be a launcher: fork a worker, wait for it, and write how it ended."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = Path(request["log"])
    worker = os.fork()
    if worker == 0:
        _work(request)
    _write_whole(log.with_suffix(".pid"), str(worker))
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    _write_whole(log.with_suffix(".code"), f"{status} {time.time()}")
    os._exit(0)


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    temporary.rename(path)


def _work(request: dict[str, Any]) -> None:
    status: Any = 1
    with Path(request["log"]).open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        os.environ |= request["environment"]
        exec(request["patch"], {})
        from sagan.cli.app import main as command_line

        sys.argv = ["sagan", *request["arguments"]]
        command_line()
        status = 0
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        # As at the interpreter's end, without waiting for torch's threads.
        from sagan.runtime.processes import leave_processes

        leave_processes()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


# ---------------------------------------------------------------------------------------------
# Jobs: a command on every machine


@dataclass
class Worker:
    """A command on one machine."""

    host: Host
    log: Path
    lost: bool = False  # killed or cut off on purpose

    @property
    def pid(self) -> int:
        """The worker's process; waits until it has started."""
        wait_until(self.log.with_suffix(".pid").exists, 60)
        return int(self.log.with_suffix(".pid").read_text())

    @property
    def code(self) -> int | None:
        """Its exit status, None while it runs."""
        file = self.log.with_suffix(".code")
        return int(file.read_text().split()[0]) if file.exists() else None

    @property
    def ended_at(self) -> float:
        return float(self.log.with_suffix(".code").read_text().split()[1])

    @property
    def errors(self) -> list[str]:
        """The lines that a person would read as errors."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if line.startswith("sagan: ") and "so far" not in line]

    def kill(self, *, launcher: bool = False) -> None:
        """Kill it with SIGKILL, and the process that started it as well, if asked to."""
        self.lost = True
        pid = self.pid
        if launcher:
            os.killpg(os.getpgid(pid), signal.SIGKILL)
            _write_whole(self.log.with_suffix(".code"), f"-9 {time.time()}")
        else:
            os.kill(pid, signal.SIGKILL)


@dataclass
class Cases:
    """What the cases share: machines, and a number for each job."""

    cluster: Cluster
    jobs: int = 0
    rows: list[bool] = field(default_factory=list)

    def start(
        self,
        arguments: Callable[[int], list[str]] | list[str],
        hosts: list[Host] | None = None,
        patches: dict[int, str] | None = None,
        world: int | None = None,
        **variables: str,
    ) -> list[Worker]:
        """Start a command in one process per entry of `hosts`; the first is rank 0."""
        self.jobs += 1
        hosts = hosts or self.cluster.hosts
        workers = []
        for rank, host in enumerate(hosts):
            log = self.cluster.folder / f"job{self.jobs}-{rank}.log"
            one_machine = len(set(map(id, hosts))) == 1 and len(hosts) > 1
            request = {
                "arguments": arguments(rank) if callable(arguments) else arguments,
                "log": str(log),
                "patch": (patches or {}).get(rank, ""),
                "environment": {
                    "RANK": str(rank), "WORLD_SIZE": str(world or len(hosts)),
                    "LOCAL_RANK": str(rank if one_machine else 0),
                    "LOCAL_WORLD_SIZE": str(len(hosts) if one_machine else 1),
                    "MASTER_ADDR": hosts[0].address, "MASTER_PORT": str(PORT + self.jobs),
                    **variables,
                },
            }  # fmt: skip
            assert host.agent is not None
            assert host.agent.stdin is not None
            host.agent.stdin.write(json.dumps(request) + "\n")
            host.agent.stdin.flush()
            workers.append(Worker(host, log))
        return workers

    def run_folder(self, name: str) -> Path:
        return self.cluster.folder / "runs" / name

    def train(self, run: str | Path, *more: str, data: str = "data") -> list[str]:
        """Return the arguments of a training."""
        settings = [f"--set={key}={value}" for key, value in SETTINGS.items()]
        return [
            "train", "--data", str(self.cluster.folder / data), "--out",
            str(self.run_folder(run) if isinstance(run, str) else run),
            "--preset", "smoke", "--steps", str(STEPS), *settings, *more,
        ]  # fmt: skip

    def row(self, case: str, expected: str, seen: str, seconds: float, ok: bool) -> None:
        self.rows.append(ok)
        number = len(self.cluster.hosts)
        mark = "yes" if ok else "**NO**"
        print(f"| {case} | {number} | {expected} | {seen} | {seconds:.0f} | {mark} |", flush=True)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came true."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def finish(workers: list[Worker], seconds: float = 90) -> Codes:
    """Wait for all; return their exit statuses, None of one that had to be killed."""
    wait_until(lambda: all(worker.code is not None for worker in workers), seconds)
    codes = [worker.code for worker in workers]
    for worker in workers:
        if worker.code is None:
            worker.kill(launcher=True)
    return codes


def at_step(run: Path, step: int) -> bool:
    """Wait until a checkpoint is there."""
    folder = run / "checkpoints" / f"step-{step:08d}" / "manifest.json"
    return wait_until(folder.exists, 90)


def bits(run: Path) -> dict[str, Any]:
    """Return every tensor of the last step's checkpoint, which must be undamaged."""
    from sagan.run import checkpoint

    folder = checkpoint.folder_of(run, STEPS)
    checkpoint.verify_checkpoint(folder)
    return {
        f"{file}/{name}": tensor
        for file in ("generator", "discriminator", "ema", "optimizer")
        for name, tensor in checkpoint.read_checkpoint(folder, file).items()
    }


def compare(run: Path, untouched: Path) -> str:
    """Return "same bits", or how far the weights are apart."""
    import torch

    found, expected = bits(run), bits(untouched)
    if all(torch.equal(found[name], tensor) for name, tensor in expected.items()):
        return "same bits"
    far = max(float((found[n].double() - t.double()).abs().max()) for n, t in expected.items())
    return f"differs by up to {far:.0e}"


# ---------------------------------------------------------------------------------------------
# Cases

CASES: list[tuple[str, Callable[[Cases, str], None]]] = []


def case(name: str, *names: str) -> Callable[[Callable[[Cases, str], None]], Any]:
    """Register a case under one or several names."""

    def register(function: Callable[[Cases, str], None]) -> Callable[[Cases, str], None]:
        CASES.extend((each, function) for each in (name, *names))
        return function

    return register


def run_cases(cluster: Cluster, only: str) -> int:
    """Run the cases; return how many did not end as expected."""
    cases = Cases(cluster)
    for name, function in CASES:
        if only in name or name == UNTOUCHED:
            function(cases, name)
    return cases.rows.count(False)


UNTOUCHED = "normal run"


@case(UNTOUCHED)
def normal(cases: Cases, name: str) -> None:
    begun = time.monotonic()
    hosts = [cases.cluster.hosts[0]] * len(cases.cluster.hosts)
    for run, where in (("one-host", hosts), ("untouched", cases.cluster.hosts)):
        workers = cases.start(cases.train(run), where)
        if any(finish(workers)):
            show(workers)
            raise SystemExit("a training without any fault did not finish")
    same = compare(cases.run_folder("untouched"), cases.run_folder("one-host"))
    ok = same == "same bits"
    expected = "the bits of as many processes on one host"
    cases.row(name, expected, same, time.monotonic() - begun, ok)


def lost(
    cases: Cases, name: str, run: str, lose: Callable[[list[Worker]], None], allowed: float
) -> None:
    """Lose a machine in training, restart, and compare with the untouched run."""
    folder = cases.run_folder(run)
    workers = cases.start(cases.train(run))
    at_step(folder, 4)
    begun = time.time()
    lose(workers)
    codes = finish(workers)
    left = [worker for worker in workers if not worker.lost]
    took = max((worker.ended_at - begun for worker in left if worker.code is not None), default=99)
    one_line = all(len(worker.errors) == 1 for worker in left)
    ok = [worker.code for worker in left] == [2] * len(left) and one_line and took < allowed
    seen = f"exit {_listed(codes)}, {'one line' if one_line else 'SEVERAL LINES'}"
    cases.row(name, f"exit 2 in one line within {allowed:.0f} s", seen, took, ok)
    if not ok:
        show(workers)
    begun = time.time()
    reference, expected = cases.run_folder("untouched"), "the bits of an untouched run"
    if len(workers) > 2:
        # Gradients of three and more are the same to rounding only after a restart, on any host.
        reference = folder.with_name(f"{run}-one-host")
        expected = "the bits of a restart on one host"
        shutil.copytree(folder, reference)
        finish(cases.start(cases.train(reference), [cases.cluster.hosts[0]] * len(workers)))
    workers = cases.start(cases.train(run))
    codes = finish(workers)
    same = compare(folder, reference) if not any(codes) else "not finished"
    cases.row(f"{name}: restart", expected, same, time.time() - begun, same == "same bits")
    if same != "same bits":
        show(workers)


def show(workers: list[Worker]) -> None:
    """Print the ends of the logs."""
    for worker in workers:
        print(f"--- {worker.host.name}\n{worker.log.read_text()[-1500:]}", file=sys.stderr)


def _listed(codes: Codes) -> str:
    return ", ".join("none" if code is None else str(code) for code in codes)


@case("kill -9 of a worker")
def kill_worker(cases: Cases, name: str) -> None:
    lost(cases, name, "killed", lambda workers: workers[-1].kill(), SLACK)


@case("kill -9 of the worker with rank 0")
def kill_first(cases: Cases, name: str) -> None:
    lost(cases, name, "killed-first", lambda workers: workers[0].kill(), SLACK)


@case("kill -9 of all processes of a host")
def kill_host(cases: Cases, name: str) -> None:
    lost(cases, name, "killed-host", lambda workers: workers[-1].kill(launcher=True), SLACK)


@case("a process that is stopped")
def stopped(cases: Cases, name: str) -> None:
    def stop(workers: list[Worker]) -> None:
        os.kill(workers[-1].pid, signal.SIGSTOP)
        wait_until(lambda: all(worker.code is not None for worker in workers[:-1]), 60)
        workers[-1].kill()

    lost(cases, name, "stopped", stop, PATIENCE + SLACK)


@case("link cut in training")
def cut(cases: Cases, name: str) -> None:
    with ExitStack() as stack:

        def lose(workers: list[Worker]) -> None:
            stack.enter_context(cases.cluster.cut(workers[-1].host))
            wait_until(lambda: all(worker.code is not None for worker in workers), 60)
            stack.close()

        lost(cases, name, "cut", lose, PATIENCE + SLACK)


@case("link cut for 3 s")
def cut_briefly(cases: Cases, name: str) -> None:
    begun = time.monotonic()
    workers = cases.start(cases.train("mended"))
    at_step(cases.run_folder("mended"), 4)
    with cases.cluster.cut(workers[-1].host):
        time.sleep(3)
    codes = finish(workers)
    same = compare(cases.run_folder("mended"), cases.run_folder("untouched"))
    ok = not any(codes) and same == "same bits"
    cases.row(name, "training continues: same bits", same, time.monotonic() - begun, ok)


def refused(
    cases: Cases,
    name: str,
    workers: list[Worker],
    words: str,
    allowed: float,
    expected: str = "",
) -> None:
    """Expect exit status 2 and one line with these words in all processes."""
    begun = time.monotonic()
    codes = finish(workers)
    took = time.monotonic() - begun
    lines = [worker.errors for worker in workers]
    ok = all(code == 2 for code in codes) and took < allowed
    ok = ok and all(len(line) == 1 for line in lines)
    ok = ok and any(words in line[0] for line in lines)
    seen = f"exit {_listed(codes)}: {lines[0][0][7:120] if lines[0] else 'nothing'} ..."
    cases.row(name, expected or "all refuse in one line", seen, took, ok)
    if not ok:
        show(workers)


@case("link cut at start-up")
def cut_at_start(cases: Cases, name: str) -> None:
    with cases.cluster.cut(cases.cluster.hosts[-1]):
        workers = cases.start(cases.train("cut-at-start"))
        refused(cases, name, workers, "did not meet", PATIENCE + SLACK)


@case("one host never starts")
def absent(cases: Cases, name: str) -> None:
    number = len(cases.cluster.hosts)
    workers = cases.start(cases.train("absent"), cases.cluster.hosts[:-1], world=number)
    refused(cases, name, workers, "did not meet", PATIENCE + SLACK)


@case("wrong port")
def wrong_port(cases: Cases, name: str) -> None:
    patch = 'import os; os.environ["MASTER_PORT"] = "1"'
    workers = cases.start(cases.train("port"), patches={1: patch})
    refused(cases, name, workers, "did not meet", PATIENCE + SLACK)


@case("wrong network interface")
def wrong_interface(cases: Cases, name: str) -> None:
    workers = cases.start(cases.train("interface"), GLOO_SOCKET_IFNAME="lo")
    refused(cases, name, workers, "eth0", PATIENCE + SLACK)


@case("unshared folders at start")
def unshared(cases: Cases, name: str) -> None:
    def arguments(rank: int) -> list[str]:
        return cases.train(cases.run_folder(f"own{rank}"))

    refused(cases, name, cases.start(arguments), "disk that all machines share", SLACK + 10)


@case("unshared folders at resume, rank 0 has the run", "unshared folders at resume, rank 1 has it")
def unshared_resume(cases: Cases, name: str) -> None:
    holder = 0 if "rank 0" in name else 1

    def arguments(rank: int) -> list[str]:
        folder = cases.run_folder("untouched" if rank == holder else f"without-{holder}-{rank}")
        return ["train", "--data", str(cases.cluster.folder / "data"), "--out", str(folder)]

    refused(cases, name, cases.start(arguments), "disk that all machines share", SLACK + 10)


PATCHES = {
    "another version of sagan": (
        "from sagan.runtime import processes; processes.__version__ = '9.9'",
        "sagan is",
    ),
    "another version of torch": ("import torch; torch.__version__ = '9.9'", "torch is"),
    "bfloat16 on one host": (
        "from sagan.nn import precision; precision.multiplies_bfloat16 = lambda device: True",
        "--set precision=float32",
    ),
}


@case(*PATCHES)
def other_software(cases: Cases, name: str) -> None:
    patch, words = PATCHES[name]
    run = name.replace(" ", "-")
    workers = cases.start(cases.train(run), patches={len(cases.cluster.hosts) - 1: patch})
    refused(cases, name, workers, words, SLACK)


@case("another setting")
def other_setting(cases: Cases, name: str) -> None:
    workers = cases.start(lambda rank: cases.train("setting", "--set", f"seed={min(rank, 1)}"))
    refused(cases, name, workers, "seed is 0 on rank 0", SLACK)


@case("other images")
def other_images(cases: Cases, name: str) -> None:
    workers = cases.start(lambda rank: cases.train("images", data="other" if rank == 1 else "data"))
    refused(cases, name, workers, "sagan data pack", SLACK)


@case("sample")
def sample(cases: Cases, name: str) -> None:
    begun = time.monotonic()
    folder, run = cases.cluster.folder, str(cases.run_folder("untouched"))
    alone = finish(
        cases.start(["sample", run, "--out", f"{folder}/a", "--num", "200"],
                    [cases.cluster.hosts[0]])
    )  # fmt: skip
    together = finish(cases.start(["sample", run, "--out", f"{folder}/b", "--num", "200"]))
    files = sorted((folder / "a").iterdir())
    same = sum(path.read_bytes() == (folder / "b" / path.name).read_bytes() for path in files)
    number = len(list((folder / "b").iterdir()))
    ok = not any(alone + together) and same == number == 200
    seen = f"exit {_listed(together)}, {same} of {number} files equal"
    cases.row(name, "the files of one process, once", seen, time.monotonic() - begun, ok)


def evaluation(cases: Cases, hosts: list[Host] | None, name: str) -> tuple[list[Worker], Path]:
    out = cases.cluster.folder / f"{name}.json"
    run, data = str(cases.run_folder("untouched")), str(cases.cluster.folder / "data")
    command = ["evaluate", run, "--data", data, "--num", "600", "--metrics", "kid", "--json"]
    cache = str(cases.cluster.folder / f"cache-{name}")
    return cases.start([*command, str(out)], hosts, SAGAN_CACHE=cache), out


@case("evaluate")
def evaluate(cases: Cases, name: str) -> None:
    begun = time.monotonic()
    alone, one = evaluation(cases, [cases.cluster.hosts[0]], "one")
    codes = finish(alone)
    together, several = evaluation(cases, None, "several")
    codes += finish(together)
    if any(codes):
        show([*alone, *together])
        cases.row(name, "equal numbers", f"exit {_listed(codes)}", time.monotonic() - begun, False)
        return
    values = [next(iter(json.loads(f.read_text())["metrics"].values())) for f in (one, several)]
    ok = abs(values[0] - values[1]) <= 1e-5 * abs(values[0])
    seen = f"{values[0]:.6f} and {values[1]:.6f}"
    cases.row(name, "the numbers of one process", seen, time.monotonic() - begun, ok)


@case("link cut in evaluate")
def cut_in_evaluate(cases: Cases, name: str) -> None:
    workers, _ = evaluation(cases, None, "cut")
    wait_until((cases.cluster.folder / "cache-cut" / "metrics").exists, 90)
    with cases.cluster.cut(workers[-1].host):
        refused(cases, name, workers, "so this process ends too", PATIENCE + SLACK)


# ---------------------------------------------------------------------------------------------
# torchrun itself


def torchrun(
    cases: Cases, run: str, *options: str, by: str = "name", **variables: str
) -> list[subprocess.Popen[bytes]]:
    """Start torchrun on every machine; they meet at the first one's name or address."""
    launchers = []
    hosts = cases.cluster.hosts
    place = hosts[0].name if by == "name" else hosts[0].address
    cases.jobs += 1
    for host in hosts:
        if by == "static":
            meet = ["--node-rank", str(host.number - 1), "--master-addr", place,
                    "--master-port", str(PORT + cases.jobs)]  # fmt: skip
        else:
            meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{place}:{PORT + cases.jobs}"]
            if by == "address":
                meet += ["--rdzv-conf", f"is_host={int(host is hosts[0])}"]
        command = [
            *host.prefix, sys.executable, "-m", "torch.distributed.run", "--nnodes",
            str(len(hosts)), "--nproc-per-node", "1", *meet, *options, "-m", "sagan",
            *cases.train(run),
        ]  # fmt: skip
        log = cases.cluster.folder / f"{run}-{host.number}.log"
        with log.open("wb") as file:
            launchers.append(
                subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT, env=environment(**variables)
                )
            )
    return launchers


def end_launchers(launchers: list[subprocess.Popen[bytes]], seconds: float) -> Codes:
    """Wait for launchers; return their exit statuses, None of one that had to be killed."""
    wait_until(lambda: all(launcher.poll() is not None for launcher in launchers), seconds)
    codes = [launcher.poll() for launcher in launchers]
    for launcher in launchers:
        launcher.kill()
        launcher.wait()
    return codes


@case("torchrun by the host's name", "torchrun by address with is_host", "torchrun --node-rank")
def by_torchrun(cases: Cases, name: str) -> None:
    begun = time.monotonic()
    by = "name" if "name" in name else "address" if "address" in name else "static"
    codes = end_launchers(torchrun(cases, f"by-{by}", by=by), 120)
    finished = not any(code != 0 for code in codes)
    same = compare(cases.run_folder(f"by-{by}"), cases.run_folder("untouched")) if finished else ""
    seen = same or f"exit {_listed(codes)}"
    cases.row(name, "same bits", seen, time.monotonic() - begun, same == "same bits")


@case("torchrun --max-restarts 3, a worker killed")
def elastic(cases: Cases, name: str) -> None:
    begun = time.monotonic()
    launchers = torchrun(cases, "elastic", "--max-restarts", "3")
    at_step(cases.run_folder("elastic"), 4)
    _kill(_worker_of(cases.cluster.hosts[-1]), signal.SIGKILL)
    codes = end_launchers(launchers, 150)
    finished = not any(code != 0 for code in codes)
    same = compare(cases.run_folder("elastic"), cases.run_folder("untouched")) if finished else ""
    ok = same == "same bits" or (len(cases.cluster.hosts) > 2 and same.startswith("differs"))
    seen = same or f"exit {_listed(codes)}"
    cases.row(name, "it comes back and finishes", seen, time.monotonic() - begun, ok)


def _worker_of(host: Host) -> int:
    """Return the process that torchrun started on a machine: it has a rank."""
    found = subprocess.run(
        ["ip", "netns", "pids", host.namespace], capture_output=True, text=True, check=True
    )
    for pid in found.stdout.split():
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if any(variable.startswith(b"TORCHELASTIC_RUN_ID=") for variable in variables):
            return int(pid)
    raise RuntimeError(f"no worker on {host.name}")


if __name__ == "__main__":
    sys.exit(main())
