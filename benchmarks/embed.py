"""Embedding speed, side by side in interleaved rounds: raw onnxruntime, the bridge's engine, and REST servers.

    python benchmarks/embed.py --model FOLDER                       engine against raw onnxruntime, in one process each
    python benchmarks/embed.py --model FOLDER --bridge http://127.0.0.1:9200 --bridge-model ID --bridge-pid PID
                               --reference http://127.0.0.1:9201 --reference-model ID --reference-pid PID

FOLDER holds one .onnx file and tokenizer.json. Each round measures, for every target in turn: one short text after the
other (p50), calls of 32 texts (short, passages, mixed lengths), and for targets that take concurrent calls 32 clients
with one text each. CPU is read from /proc for the process that was named and all its children. Printed: median (least,
greatest) over the rounds, CPU milliseconds per text, and the ratio to the first target.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import numpy as np
import onnxruntime
import psutil

from bridge.domain.tensor import TextDocsInput
from bridge.engines.session import Encoded, Inputs, ModelSpec
from bridge.engines.tokenizer import TextTokenizer
from bridge.models.inference import InferenceProcess

NOUNS = (
    "harbour",
    "engine",
    "letter",
    "village",
    "museum",
    "customer",
    "recipe",
    "night",
    "river",
    "teacher",
    "report",
)
VERBS = ("repaired", "described", "ignored", "carried", "painted", "measured", "forgot", "opened", "followed")
ENDS = ("before the meeting", "in the early morning", "without any help", "near the old bridge", "after a long winter")
SENTENCES = {"short": 1, "passage": 5, "long": 9}


def sentence(source: random.Random) -> str:
    return f"the {source.choice(NOUNS)} {source.choice(VERBS)} a {source.choice(NOUNS)} {source.choice(ENDS)}"


def texts(kind: str, count: int, seed: int) -> list[str]:
    """Deterministic texts: short about 12 word pieces, passage about 60, long about 110, mixed a third of each."""
    source = random.Random(f"{kind}{seed}")
    kinds = [source.choice(list(SENTENCES)) if kind == "mixed" else kind for _ in range(count)]
    return [". ".join(sentence(source) for _ in range(SENTENCES[k])) + f" {n}" for n, k in enumerate(kinds)]


class Target(Protocol):
    """Something that turns texts into vectors."""

    name: str
    concurrent: bool

    async def embed(self, batch: list[str]) -> Any: ...
    async def vectors(self, batch: list[str]) -> np.ndarray: ...
    def cpu(self) -> float: ...
    async def close(self) -> None: ...


class Raw:
    """onnxruntime in this process: every call padded to its longest text, mean pooled."""

    concurrent = False

    def __init__(self, folder: Path, threads: int) -> None:
        self.name = f"raw onnxruntime, {threads} thread(s)"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(next(folder.glob("*.onnx"))), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._tokenizer = TextTokenizer(folder)

    async def embed(self, batch: list[str]) -> Any:
        return self._run(self._tokenizer.encode(batch))

    async def vectors(self, batch: list[str]) -> np.ndarray:
        return np.asarray(await self.embed(batch))

    def cpu(self) -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    async def close(self) -> None:
        del self._session

    def _run(self, encoded: list[Encoded]) -> np.ndarray:
        inputs = Inputs.padded(encoded, self._tokenizer.pad_id)
        hidden = self._session.run(None, {name: getattr(inputs, name) for name in self._inputs})[0]
        weights = inputs.attention_mask[:, :, None].astype(np.float32)
        return (hidden * weights).sum(1) / weights.sum(1)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its children."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            spent = process.cpu_times()
            total += spent.user + spent.system
    except psutil.NoSuchProcess:
        return total
    return total


class Engine:
    """The bridge's inference process, called as the application calls it."""

    name, concurrent = "bridge engine", True

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, InferenceProcess()

    async def open(self) -> Engine:
        await self._process.start()
        await self._process.load("m", self._folder, ModelSpec())
        return self

    async def embed(self, batch: list[str]) -> Any:
        return await self._process.predict("m", TextDocsInput(text_docs=tuple(batch)))

    async def vectors(self, batch: list[str]) -> np.ndarray:
        return np.array([row[0].data for row in await self.embed(batch)])

    def cpu(self) -> float:
        return cpu_of(self._process.pid or 0)

    async def close(self) -> None:
        await self._process.stop()


class Rest:
    """A server with ML Commons' REST API."""

    concurrent = True

    def __init__(self, name: str, url: str, model_id: str, pid: int | None) -> None:
        self.name, self._pid = name, pid
        self._url = f"{url.rstrip('/')}/_plugins/_ml/_predict/text_embedding/{model_id}"
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))

    async def embed(self, batch: list[str]) -> Any:
        body = json.dumps({"text_docs": batch, "return_number": True, "target_response": ["sentence_embedding"]})
        async with self._session.post(self._url, data=body, headers={"content-type": "application/json"}) as answer:
            data = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{self.name}: {answer.status} {data[:200]!r}")
            return data

    async def vectors(self, batch: list[str]) -> np.ndarray:
        results = json.loads(await self.embed(batch))["inference_results"]
        return np.array([next(t["data"] for t in r["output"] if t["name"] == "sentence_embedding") for r in results])

    def cpu(self) -> float:
        return cpu_of(self._pid) if self._pid else float("nan")

    async def close(self) -> None:
        await self._session.close()


async def one_by_one(target: Target, kind: str, seed: int) -> tuple[float, int]:
    """p50 in milliseconds of sequential calls with one text, and how many texts there were."""
    times = []
    for text in texts(kind, 60, seed):
        before = time.perf_counter()
        await target.embed([text])
        times.append((time.perf_counter() - before) * 1e3)
    return statistics.median(times), len(times)


async def by_32(target: Target, kind: str, seed: int) -> tuple[float, int]:
    """Texts per second of sequential calls with 32 texts."""
    batches = [texts(kind, 32, seed * 10 + n) for n in range(3)]
    before = time.perf_counter()
    for batch in batches:
        await target.embed(batch)
    return 32 * len(batches) / (time.perf_counter() - before), 32 * len(batches)


async def clients(target: Target, kind: str, seed: int) -> tuple[float, int]:
    """Calls per second of 32 clients with one text a call, for three seconds."""
    wanted, done, end = texts(kind, 400, seed), 0, time.perf_counter() + 3

    async def client(number: int) -> None:
        nonlocal done
        turn = number
        while time.perf_counter() < end:
            await target.embed([wanted[turn % len(wanted)]])
            done, turn = done + 1, turn + 32

    before = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(32)))
    return done / (time.perf_counter() - before), done


Work = Callable[[Target, str, int], Awaitable[tuple[float, int]]]
ROWS: list[tuple[str, Work, str, bool]] = [
    ("one short text, p50 ms", one_by_one, "short", False),
    ("one passage, p50 ms", one_by_one, "passage", False),
    ("32 short texts a call, texts/s", by_32, "short", False),
    ("32 passages a call, texts/s", by_32, "passage", False),
    ("32 mixed texts a call, texts/s", by_32, "mixed", False),
    ("32 clients, one short text, calls/s", clients, "short", True),
    ("32 clients, one passage, calls/s", clients, "passage", True),
]


async def check(targets: list[Target]) -> None:
    """Print the smallest cosine of each target to the first; vectors that differ make speeds meaningless."""
    probe = [*texts("short", 8, 90), *texts("passage", 8, 91), *texts("long", 8, 92)]
    first = None
    for target in targets:
        found = await target.vectors(probe)
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        first = found if first is None else first
        print(f"{target.name:32s} cosine to the first at least {float((first * found).sum(1).min()):.7f}")


async def measure(targets: list[Target], rounds: int) -> dict[tuple[str, str], list[tuple[float, float]]]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds + 1):  # the first round warms up
        for label, work, kind, concurrent in ROWS:
            for target in targets:
                if concurrent and not target.concurrent:
                    continue
                before = target.cpu()
                value, count = await work(target, kind, number)
                if number:
                    cost = (target.cpu() - before) * 1e3 / count
                    found.setdefault((label, target.name), []).append((value, cost))
        print(f"round {number}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return found


def show(targets: list[Target], found: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    for label, *_ in ROWS:
        print(f"\n{label}")
        first = None
        for target in targets:
            values = sorted(value for value, _ in found.get((label, target.name), []))
            if not values:
                continue
            middle, cpu = statistics.median(values), statistics.median(c for _, c in found[label, target.name])
            first = first or middle
            print(
                f"  {target.name:32s} {middle:9.2f} ({values[0]:.2f} to {values[-1]:.2f})"
                f"   CPU {cpu:6.2f} ms/text   ratio {middle / first:5.2f}"
            )


async def run(options: argparse.Namespace) -> None:
    targets: list[Target] = []
    if options.reference:
        targets.append(Rest("reference", options.reference, options.reference_model, options.reference_pid))
    if options.model:
        targets += [Raw(options.model, 2), Raw(options.model, 1), await Engine(options.model).open()]
    if options.bridge:
        targets.append(Rest("bridge", options.bridge, options.bridge_model, options.bridge_pid))
    try:
        await check(targets)
        show(targets, await measure(targets, options.rounds))
    finally:
        for target in targets:
            await target.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    for side in ("bridge", "reference"):
        parser.add_argument(f"--{side}")
        parser.add_argument(f"--{side}-model")
        parser.add_argument(f"--{side}-pid", type=int)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
