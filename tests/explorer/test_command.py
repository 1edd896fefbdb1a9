"""`sagan explore` as a user starts and ends it."""

import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen


def test_it_says_where_it_is_serves_there_and_ends_quietly_on_ctrl_c(run: Path) -> None:
    command = [sys.executable, "-u", "-m", "sagan", "explore", str(run), "--no-open", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        assert url.startswith("http://127.0.0.1:")
        with urlopen(f"{url}/api/run/history") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")
