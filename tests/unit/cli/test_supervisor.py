from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

CHILD = """
import os, signal, sys, time
from bridge.cli.child import orders
name = orders().strip()
with open(os.path.join(name), "a") as f:
    f.write(f"{os.getpid()}\\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    time.sleep(0.05)
"""

PARENT = """
import sys
from bridge.cli.supervisor import Child, Supervisor
children = [Child(f"c{i}", "supervised_child", lambda p=path: p) for i, path in enumerate(sys.argv[1:])]
raise SystemExit(Supervisor(children, grace=5, on_end=lambda pid: None).run())
"""


def until(condition: Callable[[], bool], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def start(folder: Path, *names: str) -> tuple[subprocess.Popen[bytes], list[Path]]:
    (folder / "supervised_child.py").write_text(textwrap.dedent(CHILD))
    (folder / "parent.py").write_text(textwrap.dedent(PARENT))
    files = [folder / name for name in names]
    root = Path(__file__).resolve().parents[3]
    parent = subprocess.Popen(
        [sys.executable, str(folder / "parent.py"), *map(str, files)],
        env={**os.environ, "PYTHONPATH": f"{folder}:{root}"},
    )
    until(lambda: all(pids(f) for f in files))
    return parent, files


def test_a_killed_child_comes_back_and_the_other_is_left_alone(tmp_path: Path) -> None:
    parent, (one, two) = start(tmp_path, "one", "two")
    try:
        os.kill(pids(one)[0], signal.SIGKILL)
        until(lambda: len(pids(one)) == 2)
        assert len(pids(two)) == 1
        assert alive(pids(two)[0])
    finally:
        parent.terminate()
        assert parent.wait(20) == 0
    assert not any(alive(pid) for file in (one, two) for pid in pids(file))


def test_no_child_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    parent, (one,) = start(tmp_path, "one")
    parent.kill()
    parent.wait(20)
    until(lambda: not alive(pids(one)[0]))


def test_a_stop_while_a_child_is_waiting_to_come_back_is_heeded(tmp_path: Path) -> None:
    parent, (one,) = start(tmp_path, "one")
    for deaths in range(4):
        until(lambda seen=deaths: len(pids(one)) > seen and alive(pids(one)[-1]))  # type: ignore[misc]
        os.kill(pids(one)[-1], signal.SIGKILL)
    parent.terminate()
    assert parent.wait(20) == 0


def test_the_exit_code_tells_ctrl_c_from_a_stop(tmp_path: Path) -> None:
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        parent, _ = start(tmp_path, f"child-{code}")
        parent.send_signal(number)
        assert parent.wait(20) == code
