"""What a test run that died leaves behind is cleared by the next one, and nothing else is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cache_folder import appearing, cache_folder, exclusive
from node_traces import new_folder, read_pid

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    return ended.pid


def leave_behind(owner: int, command: list[str]) -> tuple[Path, subprocess.Popen[bytes]]:
    folder = cache_folder() / "nodes" / "knn-left"
    folder.mkdir(parents=True)
    (folder / "owner.json").write_text(json.dumps({"pid": owner, "started": "1"}))
    process = subprocess.Popen([*command, str(folder)] if command is SLEEPER else command)
    (folder / "pid").write_text(str(process.pid))
    # A process shows its command line a moment after it was started.
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.001)
    return folder, process


def test_a_dead_owners_node_is_killed_and_its_folder_removed() -> None:
    folder, process = leave_behind(dead_pid(), SLEEPER)
    made = new_folder("knn")
    assert process.wait(10) == -9
    assert not folder.exists()
    assert made.is_dir()


def test_a_reused_pid_does_not_count_as_the_owner() -> None:
    folder, process = leave_behind(os.getpid(), SLEEPER)
    new_folder("knn")
    assert process.wait(10) == -9
    assert not folder.exists()


def test_a_living_owners_node_is_left_alone() -> None:
    mine = new_folder("knn")
    other = new_folder("knn")
    assert mine.is_dir()
    assert other.is_dir()
    assert mine != other


def test_a_process_that_works_elsewhere_is_never_killed() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)", "elsewhere"]
    folder, process = leave_behind(dead_pid(), command)
    try:
        new_folder("knn")
        assert not folder.exists()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_an_unreadable_pid_file_is_no_pid(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("not yet")
    assert read_pid(tmp_path / "pid") == 0
    assert read_pid(tmp_path / "nothing") == 0


def test_a_prepared_folder_appears_whole_or_not_at_all() -> None:
    target = cache_folder() / "homes" / "x"
    with pytest.raises(RuntimeError, match="half way"), appearing(target) as growing:
        (growing / "file").write_text("half")
        raise RuntimeError("half way")
    assert not target.exists()
    with appearing(target) as growing:
        (growing / "file").write_text("whole")
    assert (target / "file").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_a_lock_keeps_the_second_out_until_the_first_is_done() -> None:
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with exclusive("one"):
            inside.set()
            time.sleep(0.1)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(5)
    with exclusive("one"):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
