"""What a proxy costs: `_search` direct, through nginx, HAProxy, a naive aiohttp proxy and the bridge's front.

    python benchmarks/passthrough.py [--rounds 5] [--seconds 3] [--clients 1,16,64] [--cluster URL] [--uvloop]

The upstream is a stub that answers at once, unless --cluster names a real OpenSearch (a small index is made there
and dropped). Rounds are interleaved: every target is measured in each of them, so that a busy machine is busy for
all. CPU per request is the target's own user and system time from /proc. Needs wrk; nginx and haproxy where found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent / "passthrough_peers"
TICK = os.sysconf("SC_CLK_TCK")
QUERIES = {
    "6 KB": ("big", '{"query":{"match":{"text":"storm harbour"}},"size":10}'),
    "tiny": ("tiny", '{"size":0,"track_total_hits":false,"query":{"match_none":{}}}'),
}
RESULT = re.compile(r"RES (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)")
LUA = """
wrk.method = "POST"
wrk.path = "/%s/_search"
wrk.headers["content-type"] = "application/json"
wrk.body = [[%s]]
done = function(s, l, r)
  local e = s.errors
  io.write(string.format("RES %%d %%d %%f %%f %%d\\n", s.requests, s.duration, l:percentile(50), l:percentile(99),
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass
class Target:
    name: str
    port: int
    pids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    per_second: float
    p50: float
    p99: float
    cpu: float
    errors: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(deeper for child in children for deeper in tree(int(child)))]


def cpu(pids: list[int]) -> float:
    """Seconds of user and system time of the processes and their children."""
    total = 0
    for pid in (deeper for root in pids for deeper in tree(root)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


class Bench:
    def __init__(self, stack: ExitStack, options: argparse.Namespace) -> None:
        self.stack = stack
        self.options = options
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # nginx drops to another user when it is started by root.
        self.folder.chmod(0o755)
        self.targets: list[Target] = []

    def start(self, name: str, port: int, command: list[str]) -> Target:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=HERE.parent.parent
        )
        self.stack.callback(self.stop, process)
        wait_for(port)
        return Target(name, port, [process.pid])

    @staticmethod
    def stop(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def add_peers(self, upstream: str) -> None:
        address = upstream.removeprefix("http://")
        python = [sys.executable, "-P"]
        os.environ["PYTHONPATH"] = str(HERE.parent.parent)
        self.targets.append(Target("direct", int(address.rpartition(":")[2])))
        for name, source in (("nginx", "nginx.conf"), ("haproxy", "haproxy.cfg")):
            program = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
            if program is None:
                continue
            port, text = free_port(), (HERE / source).read_text()
            path = self.folder / source
            path.write_text(text.replace("PORT", str(port)).replace("UPSTREAM", address))
            prefix = [program, "-p", str(self.folder), "-c"] if name == "nginx" else [program, "-f"]
            self.targets.append(self.start(name, port, [*prefix, str(path)]))
        port = free_port()
        self.targets.append(self.start("aiohttp", port, [*python, str(HERE / "naive.py"), str(port), upstream]))
        for name, flag in (("bridge", "--no-uvloop"), ("bridge+uvloop", "")):
            if name == "bridge+uvloop" and not self.options.uvloop:
                continue
            port, run = free_port(), self.folder / name
            command = [*python, str(HERE / "front.py"), str(port), upstream, str(run), *([flag] if flag else [])]
            self.targets.append(self.start(name, port, command))

    def once(self, target: Target, script: Path, clients: int, seconds: int) -> Row:
        before = cpu(target.pids)
        command = [
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{seconds}s",
            "-s",
            str(script),
            f"http://127.0.0.1:{target.port}",
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = RESULT.search(output)
        if found is None:
            raise SystemExit(f"wrk said: {output}")
        number = int(found[1])
        used = (cpu(target.pids) - before) / max(number, 1)
        return Row(number / (int(found[2]) / 1e6), float(found[3]), float(found[4]), used * 1e6, int(found[5]))

    def measure(self) -> dict[tuple[str, int, str], list[Row]]:
        rows: dict[tuple[str, int, str], list[Row]] = {}
        scripts = {}
        for query, (index, body) in QUERIES.items():
            scripts[query] = self.folder / f"{index}.lua"
            scripts[query].write_text(LUA % (index, body))
            for target in self.targets:
                self.once(target, scripts[query], 8, 1)
        for number in range(self.options.rounds):
            for query, script in scripts.items():
                for clients in self.options.clients:
                    for target in self.targets:
                        row = self.once(target, script, clients, self.options.seconds)
                        rows.setdefault((query, clients, target.name), []).append(row)
            print(f"round {number + 1}/{self.options.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        return rows


def call(url: str, method: str, path: str, body: str = "", kind: str = "application/json") -> None:
    request = urllib.request.Request(url + path, body.encode() or None, {"content-type": kind}, method=method)
    urllib.request.urlopen(request, timeout=60).read()


def fill(url: str) -> None:
    """An index for each query: 2,000 documents of about 450 bytes."""
    words = ("storm", "harbour", "sailor", "engine", "museum", "bread", "letter", "river", "vote", "rules", "copper")
    for index in ("big", "tiny"):
        call(url, "PUT", f"/{index}", '{"settings":{"number_of_shards":1,"number_of_replicas":0}}')
        lines = []
        for number in range(2_000):
            text = " ".join(words[(number * step + step) % len(words)] for step in range(1, 68))
            lines += [json.dumps({"index": {"_id": str(number)}}), json.dumps({"text": text})]
        call(url, "POST", f"/{index}/_bulk?refresh", "\n".join(lines) + "\n", "application/x-ndjson")


def empty(url: str) -> None:
    for index in ("big", "tiny"):
        call(url, "DELETE", f"/{index}")


def spread(values: list[float], scale: float = 1.0, digits: int = 0) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle * scale:9.{digits}f} ({low * scale:.{digits}f}-{high * scale:.{digits}f})"


def report(rows: dict[tuple[str, int, str], list[Row]], names: list[str]) -> None:
    for query, clients in dict.fromkeys((query, clients) for query, clients, _ in rows):
        print(f"\n{query} answers, {clients} clients")
        print(
            "  {:14} {:>24} {:>8} {:>24} {:>8} {:>8} {:>8}".format(
                "", "requests/s", "x nginx", "CPU ms/request", "p50 ms", "added", "p99 ms"
            )
        )
        peer = rows.get((query, clients, "nginx")) or rows[query, clients, "direct"]
        direct = rows[query, clients, "direct"]
        for name in names:
            found = rows[query, clients, name]
            ratio = statistics.median(row.per_second / other.per_second for row, other in zip(found, peer, strict=True))
            added = statistics.median(row.p50 - other.p50 for row, other in zip(found, direct, strict=True)) / 1e3
            speed = spread([row.per_second for row in found])
            used = spread([row.cpu for row in found], 1e-3, 3) if name != "direct" else "-"
            p50, p99 = (statistics.median(getattr(row, key) for row in found) / 1e3 for key in ("p50", "p99"))
            errors = sum(row.errors for row in found)
            print(
                f"  {name:14} {speed:>24} {ratio:8.2f} {used:>24} {p50:8.3f} {added:+8.3f} {p99:8.3f}"
                + (f"  {errors} errors" if errors else "")
            )
        summary(rows, query, clients)


def summary(rows: dict[tuple[str, int, str], list[Row]], query: str, clients: int) -> None:
    direct, ours = rows[query, clients, "direct"], rows[query, clients, "bridge"]
    other = rows.get((query, clients, "haproxy"))
    if clients == 1 and other is not None:
        mine, theirs = (
            statistics.median(row.p50 - base.p50 for row, base in zip(found, direct, strict=True))
            for found in (ours, other)
        )
        print(f"  added p50 at one client: bridge {mine:.0f} us, HAProxy {theirs:.0f} us, ratio {mine / theirs:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--clients", type=lambda text: [int(part) for part in text.split(",")], default=[1, 16, 64])
    parser.add_argument("--cluster", help="URL of a real OpenSearch (http) as the upstream")
    parser.add_argument("--uvloop", action="store_true", help="measure the front with uvloop too")
    options = parser.parse_args()
    # So that a bench that is told to stop takes its servers with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        bench = Bench(stack, options)
        upstream = options.cluster
        if upstream:
            fill(upstream)
            stack.callback(empty, upstream)
        else:
            port = free_port()
            bench.start("stub", port, [sys.executable, str(HERE / "stub.py"), str(port)])
            upstream = f"http://127.0.0.1:{port}"
        bench.add_peers(upstream)
        report(bench.measure(), [target.name for target in bench.targets])


if __name__ == "__main__":
    main()
