"""A search on its way through a pipeline: what is asked of the cluster, what fails, and what verbose mode shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bridge.errors import ClusterError, InvalidRequest
from bridge.pipelines.normal import Normal
from bridge.pipelines.search_definitions import RequestStep, ResponseStep, SearchPipeline
from bridge.pipelines.search_run import SearchRun
from bridge.pipelines.split import Processor
from bridge.processors.search import Json, SearchContext

BAD = {"nope": {}}
GOOD = {"match_all": {}}
ASIDE = {"search_pipeline": {}, "verbose_pipeline": True}


@dataclass
class Normaliser:
    """A cluster where every source but that with the query BAD is in its normal form."""

    calls: int = 0
    url_keys: Sequence[str] = ()

    async def normal(
        self, source: Mapping[str, Any], natives: Sequence[Processor], *, lenient: bool = False, from_url: bool = False
    ) -> Normal:
        self.calls += 1
        if source["query"] == BAD:
            raise ClusterError(400, {"error": {"type": "parsing_exception", "reason": "unknown query [nope]"}})
        return Normal({**source, "normal": True}, {**source, "normal": True})


@dataclass
class Says:
    """A processor either way: the source becomes `source`; `fail` fails it."""

    source: Json = field(default_factory=dict)
    fail: bool = False
    lenient: list[bool] = field(default_factory=list)

    async def rewrite(self, source: Json, context: SearchContext) -> Json:
        if self.fail:
            raise InvalidRequest("broken")
        return self.source

    async def process(self, response: Json, context: SearchContext) -> Json:
        self.lenient.append(context.ignore_failure)
        if self.fail:
            raise InvalidRequest("broken")
        return response


def run(*steps: Any, verbose: bool = False, **body: Any) -> tuple[SearchRun, Normaliser]:
    request = tuple(step for step in steps if isinstance(step, RequestStep))
    response = tuple(step for step in steps if isinstance(step, ResponseStep))
    pipeline = SearchPipeline(name="p", definition={}, rewriting=request, results=response)
    normaliser = Normaliser()
    found = SearchRun(
        pipeline=pipeline, body={"query": GOOD, **body}, normaliser=normaliser, verbose=[] if verbose else None,
        aside=ASIDE,
    )  # fmt: skip
    return found, normaliser


def step(processor: Any, kind: str = "ml_inference", ignored: bool = False) -> RequestStep:
    return RequestStep(kind=kind, config={}, processor=processor, ignore_failure=ignored)


async def test_a_body_that_the_cluster_can_not_read_is_the_failure_of_who_wrote_it() -> None:
    found, normaliser = run(step(Says({"query": BAD}), ignored=True), size=1)
    await found.rewrite()
    assert (found.body, normaliser.calls) == ({"query": GOOD, "size": 1}, 2)
    found, _ = run(step(Says({"query": BAD})), verbose=True, size=1)
    await found.rewrite()
    assert found.body == {"query": GOOD, "size": 1}
    (shown,) = found.verbose or ()
    assert (shown["status"], shown["error"], shown["output_data"]) == ("fail", "unknown query [nope]", None)


async def test_a_body_that_was_checked_is_not_asked_for_again() -> None:
    found, normaliser = run(step(Says({"query": GOOD, "size": 2}), ignored=True), step(Says(fail=True), ignored=True))
    await found.rewrite()
    assert (found.body, normaliser.calls) == ({"query": GOOD, "size": 2}, 2)


async def test_the_cluster_is_not_asked_where_a_failure_ends_the_search() -> None:
    found, normaliser = run(step(Says({"query": BAD})))
    await found.rewrite()
    assert (normaliser.calls, found.body) == (1, {"query": BAD})
    found, normaliser = run(step(Says({"query": BAD})), step(Says()))
    with pytest.raises(ClusterError):
        await found.rewrite()


async def test_an_ignored_failure_of_ml_inference_is_shown_as_success() -> None:
    for kind, shown in (("ml_inference", "success"), ("rerank", "fail")):
        steps = [
            step(Says(fail=True), kind, ignored=True),
            ResponseStep(kind=kind, config={}, processor=Says(fail=True), ignore_failure=True),
        ]
        found, _ = run(*steps, verbose=True)
        await found.rewrite()
        await found.process({"hits": {"hits": [{"_id": "1"}]}})
        for one in found.verbose or ():
            assert (one["status"], one.get("error")) == (shown, None if shown == "success" else "broken")
            assert one["output_data"] == (one["input_data"] if shown == "success" else None)


async def test_verbose_mode_keeps_what_succeeds_for_single_hits() -> None:
    for ignored in (True, False):
        says = Says()
        response = ResponseStep(kind="ml_inference", config={}, processor=says, ignore_failure=ignored)
        found, _ = run(response, verbose=True)
        await found.process({"hits": {"hits": []}})
        assert says.lenient == [ignored]


async def test_a_whole_new_source_is_shown_in_its_normal_form_without_the_pipeline() -> None:
    found, normaliser = run(step(Says({"query": {"ids": {}}})), step(Says(fail=True)), verbose=True, size=1)
    await found.rewrite()
    first, second = found.verbose or ()
    assert first["input_data"] == {"query": GOOD, "size": 1, "normal": True, **ASIDE}
    assert first["output_data"] == second["input_data"] == {"query": {"ids": {}}, "normal": True}
    assert normaliser.calls == 2


async def test_what_the_cluster_shows_of_the_search_gets_back_what_was_kept_from_it() -> None:
    ext = {"ml_inference": {"k": "v"}}
    found, _ = run(verbose=True, ext=ext)
    found.aside = {"search_pipeline": "p"}
    found.collect(
        [
            {"input_data": {"size": 1, "search_pipeline": {}, "verbose_pipeline": True}, "output_data": None},
            {"input_data": [1], "output_data": [2]},
        ]
    )
    assert found.verbose == [
        {"input_data": {"size": 1, "ext": ext, "search_pipeline": "p"}, "output_data": None},
        {"input_data": [1], "output_data": [2]},
    ]
