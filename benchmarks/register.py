"""Register by URL and deploy the 83 MB model: the bridge beside the real ML Commons, in turns, and the bridge's memory.

    python benchmarks/register.py --bridge http://127.0.0.1:9700 --bridge-pid PID --reference http://127.0.0.1:9200

`--bridge-pid` is the `bridge serve` process: its children are counted too, but for the inference processes, which hold
the models themselves. Prints seconds (min, median, max) for each side, the ratio, and the memory above idle in MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "testcontainers"))

import real_models
from file_server import FileServer

ML = "/_plugins/_ml"


def call(base: str, method: str, path: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(base + ML + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def ended(base: str, task_id: str) -> Any:
    while True:
        try:
            task = call(base, "GET", f"/tasks/{task_id}")
        except urllib.error.HTTPError as refused:
            # A small heap full of chunks turns even a poll away; the work itself goes on.
            if refused.code != 429:
                raise
            time.sleep(0.2)
            continue
        if task["state"] not in ("CREATED", "RUNNING"):
            if task["state"] != "COMPLETED":
                raise SystemExit(f"{base}: {task}")
            return task
        time.sleep(0.02)


def one_round(base: str, body: Any) -> tuple[float, float]:
    """Seconds for registering and for deploying; the model is taken away again."""
    started = time.perf_counter()
    model_id = ended(base, call(base, "POST", "/models/_register", body)["task_id"])["model_id"]
    registered = time.perf_counter()
    ended(base, call(base, "POST", f"/models/{model_id}/_deploy")["task_id"])
    deployed = time.perf_counter()
    call(base, "POST", f"/models/{model_id}/_undeploy")
    call(base, "DELETE", f"/models/{model_id}")
    return registered - started, deployed - registered


class Memory:
    """Samples the bridge's resident memory every 20 ms."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._stop = threading.Event()
        self.peak = self.idle = self.read()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self) -> int:
        total = 0
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                if "bridge.engines.process" not in process.cmdline():
                    total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self.read())

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return (self.peak - self.idle) / 1e6


def line(name: str, values: list[float]) -> str:
    return f"{name:<28}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--bridge-pid", type=int)
    parser.add_argument("--reference")
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    archive = real_models.onnx_zip(real_models.MINILM)
    sides = {"bridge": told.bridge} | ({"ML Commons": told.reference} if told.reference else {})
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    grown: list[float] = []
    with FileServer() as server:
        body = real_models.MINILM.register_body(server.serve(archive), archive)
        for _ in range(told.rounds):
            for name, base in sides.items():
                memory = Memory(told.bridge_pid) if name == "bridge" and told.bridge_pid else None
                took[name].append(one_round(base, body))
                if memory is not None:
                    grown.append(memory.stop())
    print(f"{archive.stat().st_size / 1e6:.0f} MB; seconds{'':<12}{'min':>8}{'median':>8}{'max':>8}")
    for name, pairs in took.items():
        print(line(f"{name}: register", [register for register, _ in pairs]))
        print(line(f"{name}: deploy", [deploy for _, deploy in pairs]))
        print(line(f"{name}: both", [sum(pair) for pair in pairs]))
    if "ML Commons" in took:
        median = {name: statistics.median(sum(pair) for pair in pairs) for name, pairs in took.items()}
        print(f"ratio of medians: {median['bridge'] / median['ML Commons']:.2f}")
    if grown:
        print(line("bridge: MB above idle", grown))


if __name__ == "__main__":
    main()
