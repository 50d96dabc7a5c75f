"""Searches through a pipeline: the bridge beside the real ML Commons that does the same in the cluster.

    python -m benchmarks.search_pipeline --bridge http://127.0.0.1:9200 --cluster http://127.0.0.1:9210
        [--reference http://127.0.0.1:9201] [--bridge-model ID --reference-model ID] [--rounds 5] [--searches 40]

`--cluster` is what the bridge stands before. The models are deployed cross-encoders (TEXT_SIMILARITY), the same on both
sides; without them the hits are reranked by a field. An index of 400 documents is made on each side and dropped at
the end. Measured in milliseconds a search, one after the other:

    plain       100 hits, no pipeline: in the cluster, and through the bridge without and beside a pipeline of its own
    nothing     a response processor that fails at once and is ignored; the same as a request processor
    rerank      100 hits reranked

Each round measures every case of every side in turn; printed are least / median / greatest of the rounds' medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from benchmarks.embed import texts

HITS = 100
DOCUMENTS = 400
MISSING = {"model_id": "none", "ignore_failure": True, "input_map": [{"a": "no.such"}], "output_map": [{"b": "c"}]}
NOTHING_AFTER = {"response_processors": [{"ml_inference": MISSING}]}
NOTHING_BEFORE = {"request_processors": [{"ml_inference": MISSING}]}
QUERY = {"query": {"match": {"text": "harbour engine letter village"}}, "size": HITS}


@dataclass
class Side:
    """A server with the index on it; `medians` by case."""

    name: str
    url: str
    session: aiohttp.ClientSession
    index: str
    model: str | None = None
    medians: dict[str, list[float]] = field(default_factory=dict)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        lines = path.partition("?")[0].endswith("_bulk")
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/x-ndjson" if lines else "application/json"}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            told = await answer.json(content_type=None)
            assert answer.status < 300, (self.name, method, path, told)
            return told

    async def fill(self) -> None:
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        mappings = {"properties": {"text": {"type": "text"}, "n": {"type": "integer"}}}
        await self.call("PUT", f"/{self.index}", {"settings": settings, "mappings": mappings})
        lines: list[Any] = []
        for number, text in enumerate(texts("passage", DOCUMENTS, 7)):
            lines += [{"index": {"_id": str(number)}}, {"text": text, "n": number * 37 % DOCUMENTS}]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        assert not (await self.call("POST", f"/{self.index}/_bulk?refresh=true", body))["errors"]

    def rerank(self) -> dict[str, Any]:
        """The pipeline that reranks here."""
        if self.model is None:
            return {"response_processors": [{"rerank": {"by_field": {"target_field": "n"}}}]}
        found = {"ml_opensearch": {"model_id": self.model}, "context": {"document_fields": ["text"]}}
        return {"response_processors": [{"rerank": found}]}

    async def measure(self, case: str, body: Any, searches: int) -> None:
        taken = []
        path = f"/{self.index}/_search"
        for _ in range(searches):
            started = time.perf_counter()
            answer = await self.call("POST", path, body)
            taken.append((time.perf_counter() - started) * 1000)
            assert len(answer["hits"]["hits"]) == HITS, answer["hits"]["total"]
        self.medians.setdefault(case, []).append(statistics.median(taken))


def ext(side: Side) -> dict[str, Any]:
    """What a cross-encoder compares the hits with."""
    asked = {"rerank": {"query_context": {"query_text": "a letter from the harbour"}}}
    return {"ext": asked} if side.model is not None else {}


def cases(side: Side) -> list[tuple[str, Any]]:
    """The searches of one side that need its own processors."""
    return [
        ("nothing, after", {**QUERY, "search_pipeline": f"{side.index}-after"}),
        ("nothing, before", {**QUERY, "search_pipeline": f"{side.index}-before"}),
        ("rerank", {**QUERY, **ext(side), "search_pipeline": f"{side.index}-rerank"}),
    ]


async def define(side: Side) -> None:
    for name, definition in (("after", NOTHING_AFTER), ("before", NOTHING_BEFORE), ("rerank", side.rerank())):
        await side.call("PUT", f"/_search/pipeline/{side.index}-{name}", definition)


async def rounds(cluster: Side, served: Sequence[Side], number: int, searches: int) -> None:
    bridge = served[0]
    for _ in range(number):
        await cluster.measure("plain", QUERY, searches)
        await bridge.measure("plain", QUERY, searches)
    for side in served:
        await define(side)
    for _ in range(number):
        await cluster.measure("plain, again", QUERY, searches)
        for side in served:
            await side.measure("plain beside a pipeline", QUERY, searches)
            for case, body in cases(side):
                await side.measure(case, body, searches)


def show(sides: Sequence[Side]) -> None:
    for side in sides:
        for case, medians in side.medians.items():
            least, middle, most = min(medians), statistics.median(medians), max(medians)
            print(f"{side.name:<10} {case:<24} {least:8.2f} / {middle:8.2f} / {most:8.2f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", required=True)
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--reference")
    parser.add_argument("--bridge-model")
    parser.add_argument("--reference-model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--searches", type=int, default=40)
    given = parser.parse_args()
    index = f"bench-{uuid4().hex[:8]}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        cluster = Side("cluster", given.cluster.rstrip("/"), session, index)
        served = [Side("bridge", given.bridge.rstrip("/"), session, index, given.bridge_model)]
        if given.reference:
            served.append(Side("reference", given.reference.rstrip("/"), session, index, given.reference_model))
        try:
            for side in served:
                await side.fill()
            await rounds(cluster, served, given.rounds, given.searches)
            show([cluster, *served])
        finally:
            for side in served:
                await side.call("DELETE", f"/{index}")
                await side.call("DELETE", f"/_search/pipeline/{index}*")


if __name__ == "__main__":
    asyncio.run(main())
