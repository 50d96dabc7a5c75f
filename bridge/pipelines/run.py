"""Runs the part of a pipeline that is ours over the documents of one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge.errors import BridgeError
from bridge.pipelines.definitions import IngestPipeline, Step
from bridge.processors.ingest import IngestDocument, Outcome, StoredFields


async def run_ingest(
    pipeline: IngestPipeline, documents: Sequence[IngestDocument], stored: StoredFields
) -> list[Outcome]:
    """One outcome per document, in order; a document whose outcome is an error must not be written."""
    if pipeline.broken is not None:
        return [pipeline.broken for _ in documents]
    outcomes: list[Outcome] = [document.fields for document in documents]
    for step in pipeline.steps:
        outcomes = await _through(step, documents, outcomes, stored)
    return outcomes


async def _through(
    step: Step, documents: Sequence[IngestDocument], outcomes: Sequence[Outcome], stored: StoredFields
) -> list[Outcome]:
    """Send what has not failed so far through one step; its failures go to the handlers, if it has any."""
    after = list(outcomes)
    alive = []
    inputs = []
    for place, outcome in enumerate(outcomes):
        if not isinstance(outcome, BridgeError):
            alive.append(place)
            inputs.append(replace(documents[place], fields=outcome))
    if not alive:
        return after
    results = await step.processor.run(inputs, stored)
    failed = []
    for place, result in zip(alive, results, strict=True):
        if not isinstance(result, BridgeError):
            after[place] = result
        elif not step.ignore_failure:
            failed.append((place, result))
    if not step.on_failure:
        for place, error in failed:
            after[place] = error
        return after
    return await _handled(step, documents, after, [place for place, _ in failed], stored)


async def _handled(
    step: Step, documents: Sequence[IngestDocument], outcomes: list[Outcome], failed: list[int], stored: StoredFields
) -> list[Outcome]:
    if failed:
        some = [outcomes[place] for place in failed]
        for handler in step.on_failure:
            some = await _through(handler, [documents[place] for place in failed], some, stored)
        for place, outcome in zip(failed, some, strict=True):
            outcomes[place] = outcome
    return outcomes
