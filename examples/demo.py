"""The main job, start to end, on this machine:  make demo

A real OpenSearch, the bridge in front of it, and all-MiniLM-L6-v2 registered by URL, stored in the cluster, deployed on
the bridge's ML node, embedding the documentation topics that ship with CPython on their way into an index, and
answering a question by meaning. Everything is stopped and removed at the end, also on Ctrl-C.

    OPENSEARCH_URL=http://...   use that cluster instead of starting one (its demo indices are deleted at the end)
    python examples/demo.py "how do I make an object callable?"   ask something else
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "testcontainers"), str(ROOT / "examples")]

import container_cluster  # noqa: E402
from file_server import FileServer  # noqa: E402
from local_node import LocalNode, free_port  # noqa: E402
from maven_artifacts import Unavailable  # noqa: E402
from real_models import MINILM, onnx_zip  # noqa: E402
from rest import Rest, RestError  # noqa: E402
from topics import Passage, passages  # noqa: E402
from tqdm import tqdm  # noqa: E402

PREFIX = ".bridge-demo-"
INDEX = "bridge-demo-python-docs"
PIPELINE = "bridge-demo-embed"
QUESTIONS = (
    "make sure something is cleaned up even when an error happens",
    "run a piece of code many times while a test is true",
    "turning words and numbers into one nicely laid out string",
)
WAIT_SECONDS = 180.0
BULK_SIZE = 64
STEPS = 7


class Show:
    """What the demo prints: numbered steps with their time, and facts below them."""

    def __init__(self) -> None:
        self._number = 0
        self.began = time.monotonic()
        self.facts: list[tuple[str, str]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._number += 1
        print(f"\n[{self._number}/{STEPS}] {title}", flush=True)
        began = time.monotonic()
        yield
        print(f"      done in {time.monotonic() - began:.1f} s", flush=True)

    def say(self, text: str) -> None:
        print(f"      {text}", flush=True)

    def fact(self, name: str, value: object) -> None:
        """Remember something that happened behind the answers; printed at the end."""
        self.facts.append((name, str(value)))


def wait_for(what: str, probe: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The probe's first answer that is not None. Raises Unavailable after that many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found is not None:
            return found
        time.sleep(0.1)
    raise Unavailable(f"{what}: nothing after {seconds:.0f} s")


def open_cluster(stack: ExitStack, show: Show) -> str:
    """OPENSEARCH_URL, else a container where its image is at hand, else a node on this machine. Gives the URL."""
    given = os.environ.get("OPENSEARCH_URL", "").rstrip("/")
    if given:
        show.say("taken from OPENSEARCH_URL")
        return given
    docker = container_cluster.engine_answers()
    if docker and container_cluster.image_exists(container_cluster.IMAGE):
        show.say(f"in a container of {container_cluster.IMAGE}")
        return stack.enter_context(container_cluster.plain_opensearch(container_cluster.IMAGE))
    try:
        show.say("a node on this machine, of Maven Central's artifacts; the first start downloads and unpacks them")
        return stack.enter_context(LocalNode("knn")).url
    except Unavailable as reason:
        if not docker:
            raise
        show.say(f"not here ({str(reason).partition('.')[0]}); pulling {container_cluster.OFFICIAL_IMAGE}")
        return stack.enter_context(container_cluster.plain_opensearch(container_cluster.OFFICIAL_IMAGE))


def start_bridge(stack: ExitStack, cluster: str) -> Rest:
    """`python -m bridge serve` in a process of its own, ready to serve."""
    folder = Path(tempfile.mkdtemp(prefix="bridge-demo-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    port = free_port()
    log = folder / "bridge.log"
    command = [sys.executable, "-m", "bridge", "serve", "--cluster", cluster, "--listen", f"127.0.0.1:{port}"]
    command += ["--roles", "proxy,ml", "--index-prefix", PREFIX, "--data-dir", str(folder / "data")]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    stack.callback(_end, process)
    bridge = Rest(f"http://127.0.0.1:{port}")

    def ready() -> bool | None:
        if process.poll() is not None:
            raise Unavailable("it ended while starting")
        return True if bridge.answers("/_bridge/health") else None

    try:
        wait_for("ready", ready)
    except Unavailable as reason:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise Unavailable(f"the bridge did not start ({reason}):\n{tail}") from None
    return bridge


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_task(bridge: Rest, task_id: str, show: Show) -> dict[str, Any]:
    """Poll a task until it ends, printing each state once. Raises Unavailable with the task's own error."""
    seen: list[str] = []

    def ended() -> dict[str, Any] | None:
        task: dict[str, Any] = bridge.get(f"/_plugins/_ml/tasks/{task_id}")
        if task["state"] not in seen:
            seen.append(task["state"])
            show.say(f"task {task_id}: {task['state']}")
        if task["state"] == "FAILED":
            raise Unavailable(f"{task['task_type']} failed: {task.get('error')}")
        return task if task["state"] == "COMPLETED" else None

    task = wait_for(f"task {task_id}", ended)
    show.fact(task["task_type"], f"{' -> '.join(seen)} on worker {', '.join(task.get('worker_node', ['?']))}")
    return task


def register(bridge: Rest, show: Show) -> str:
    """Register all-MiniLM-L6-v2 by URL; gives the model's id."""
    archive = onnx_zip(MINILM)
    show.say(f"{archive.name}: ONNX graph + tokenizer.json, {archive.stat().st_size / 1e6:.0f} MB")
    with FileServer() as files:
        body = MINILM.register_body(files.serve(archive), archive)
        show.say(f"POST /_plugins/_ml/models/_register   url={body['url']}")
        task = bridge.post("/_plugins/_ml/models/_register", body)
        return str(await_task(bridge, task["task_id"], show)["model_id"])


def deploy(bridge: Rest, model: str, show: Show) -> None:
    show.say(f"POST /_plugins/_ml/models/{model}/_deploy")
    task = bridge.post(f"/_plugins/_ml/models/{model}/_deploy", {})
    await_task(bridge, task["task_id"], show)
    told = bridge.get(f"/_plugins/_ml/models/{model}")
    show.fact("model", f"{told['name']}: {told['model_state']}, {told['total_chunks']} chunks in the cluster")


def make_index(bridge: Rest, model: str, show: Show) -> None:
    embed = {"text_embedding": {"model_id": model, "field_map": {"text": "embedding"}}}
    bridge.put(f"/_ingest/pipeline/{PIPELINE}", {"description": "embeds `text`", "processors": [embed]})
    show.say(f"PUT /_ingest/pipeline/{PIPELINE}   text -> embedding")
    method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
    vector = {"type": "knn_vector", "dimension": MINILM.dimension, "method": method}
    properties = {"topic": {"type": "keyword"}, "text": {"type": "text"}, "embedding": vector}
    settings = {"index.knn": True, "default_pipeline": PIPELINE, "number_of_replicas": 0}
    bridge.delete(f"/{INDEX}", missing_ok=True)
    bridge.put(f"/{INDEX}", {"settings": settings, "mappings": {"properties": properties}})
    show.say(f"PUT /{INDEX}   knn_vector of {MINILM.dimension}, engine lucene")


def fill_index(bridge: Rest, texts: list[Passage], show: Show) -> None:
    began = time.monotonic()
    # A bar for a terminal, a line per request for a log.
    with tqdm(total=len(texts), unit="text", leave=False, desc="      _bulk", file=sys.stdout, disable=None) as bar:
        for start in range(0, len(texts), BULK_SIZE):
            part = texts[start : start + BULK_SIZE]
            bridge.bulk(INDEX, [{"topic": passage.topic, "text": passage.text} for passage in part])
            bar.update(len(part))
            if bar.disable:
                show.say(f"_bulk: {start + len(part)} of {len(texts)}")
    seconds = time.monotonic() - began
    bridge.post(f"/{INDEX}/_refresh", {})
    show.say(f"{len(texts)} passages embedded and indexed, {len(texts) / seconds:.0f} a second")
    show.fact("ingest", f"{len(texts)} passages in {seconds:.1f} s through _bulk and pipeline {PIPELINE}")


def ask(bridge: Rest, model: str, question: str, show: Show) -> None:
    """One semantic search through the proxy, printed with its hits."""
    query = {"neural": {"embedding": {"query_text": question, "model_id": model, "k": 20}}}
    body = {"size": 3, "_source": ["topic", "text"], "query": query}
    began = time.monotonic()
    answer = bridge.post(f"/{INDEX}/_search", body)
    took = (time.monotonic() - began) * 1000
    print(f'\n      "{question}"   ({took:.0f} ms, {answer["took"]} ms of it in OpenSearch)')
    for hit in answer["hits"]["hits"]:
        source = hit["_source"]
        text = textwrap.shorten(" ".join(source["text"].split()), 150, placeholder=" ...")
        print(f"      {hit['_score']:.4f}  {source['topic']:<18}  {text}")
    show.fact("search", f"{took:.0f} ms for {question!r}")


def clean_up(bridge: Rest, cluster: Rest) -> None:
    """Remove what the demo made; matters on a cluster that was there before."""
    bridge.delete(f"/{INDEX}", missing_ok=True)
    bridge.delete(f"/_ingest/pipeline/{PIPELINE}", missing_ok=True)
    for row in cluster.get(f"/_cat/indices/{PREFIX}*?format=json&h=index&expand_wildcards=all"):
        cluster.delete(f"/{row['index']}", missing_ok=True)


def summary(cluster: Rest, show: Show) -> None:
    print("\nWhat happened behind it")
    pattern = f"/_cat/indices/{PREFIX}*?format=json&h=index,docs.count,store.size&expand_wildcards=all&s=index"
    for row in cluster.get(pattern):
        show.fact(row["index"], f"{row['docs.count']} documents, {row['store.size']}")
    width = max(len(name) for name, _ in show.facts)
    for name, value in show.facts:
        print(f"  {name:<{width}}  {value}")


def demo(questions: tuple[str, ...], stack: ExitStack, show: Show) -> None:
    with show.step("A real OpenSearch"):
        url = open_cluster(stack, show)
        cluster = Rest(url)
        told = cluster.get("/")
        plugins = {row["component"] for row in cluster.get("/_cat/plugins?format=json")}
        show.say(f"OpenSearch {told['version']['number']} at {url}, plugins: {', '.join(sorted(plugins)) or 'none'}")
    with show.step("The bridge in front of it"):
        bridge = start_bridge(stack, url)
        stack.callback(clean_up, bridge, cluster)
        show.say(f"ready at {bridge.url}; clients use it in place of {url}")
    with show.step("Register all-MiniLM-L6-v2 by URL"):
        model = register(bridge, show)
    with show.step("Deploy it on the ML node"):
        deploy(bridge, model, show)
    with show.step("An index and an ingest pipeline"):
        make_index(bridge, model, show)
    with show.step("Index the documentation topics of this Python, through the proxy"):
        fill_index(bridge, list(passages()), show)
    with show.step("Search by meaning, through the proxy"):
        for question in questions:
            ask(bridge, model, question, show)
    summary(cluster, show)


def main() -> int:
    # A terminated demo cleans up like an interrupted one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    show = Show()
    try:
        with ExitStack() as stack:
            demo(tuple(sys.argv[1:]) or QUESTIONS, stack, show)
            print("\nStopping the bridge and the cluster, and removing what they stored ...", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped and removed.")
        return 130
    except (Unavailable, RestError) as reason:
        print(f"\nThe demo could not go on: {reason}", file=sys.stderr)
        return 1
    print(f"All done in {time.monotonic() - show.began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
