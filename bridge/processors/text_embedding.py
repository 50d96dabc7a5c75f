"""`text_embedding`: texts of a document become vectors beside them (contract/processors.md section 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.domain.tensor import MLOutput, TextDocsInput
from bridge.errors import BridgeError, EngineError, TooManyRequests, Unavailable
from bridge.models.predictor import Predictor
from bridge.processors.field_map import Tree, Where, at, embed, tree_of
from bridge.processors.ingest import IngestDocument, IngestServices, Outcome, StoredFields
from bridge.processors.properties import InternalConfiguration, Properties
from bridge.wire import dumps, raw_json

KIND = "text_embedding"
RESPONSE = "sentence_embedding"
TEXTS_A_CALL = 256
"""So many texts go to the model in one call at most: a long bulk then gives the model's queue work in pieces."""
CALLS_AT_ONCE = 4
"""Calls of one run that wait for the model together: enough to keep it busy, too few to fill its queue."""


@dataclass
class _Work:
    """One document's texts, and where the vectors of those that are to be computed go."""

    document: IngestDocument
    texts: list[str] = field(default_factory=list)
    kept: dict[Where, Any] = field(default_factory=dict)
    vectors: list[Any] = field(default_factory=list)
    error: BridgeError | None = None


class TextEmbedding:
    """See IngestProcessor. Texts of all documents share model calls; an error of the model hits the documents whose
    texts were in the failed call, after each had its own try."""

    def __init__(
        self, model_id: str, tree: Tree, *, batch_size: int, skip_existing: bool, predictor: Predictor
    ) -> None:
        self.model_id = model_id
        self._tree = tree
        self._batch_size = batch_size
        self._skip_existing = skip_existing
        self._predictor = predictor

    async def run(self, documents: Sequence[IngestDocument], stored: StoredFields) -> list[Outcome]:
        works = [await self._prepare(document, stored) for document in documents]
        waiting = [work for work in works if work.texts and work.error is None]
        slots = asyncio.Semaphore(CALLS_AT_ONCE)

        async def infer(group: list[_Work]) -> None:
            async with slots:
                await self._infer(group)

        await asyncio.gather(*(infer(group) for group in self._groups(waiting)))
        return [self._finish(work) for work in works]

    async def _prepare(self, document: IngestDocument, stored: StoredFields) -> _Work:
        work = _Work(document)
        try:
            old = await stored(document) if self._skip_existing and document.id is not None else None
            work.kept = self._reusable(document, old) if old else {}

            def take(text: str, where: Where) -> Any:
                if where not in work.kept:
                    work.texts.append(text)

            embed(document.fields, self._tree, take)
        except BridgeError as error:
            work.error = error
        return work

    def _reusable(self, document: IngestDocument, old: Mapping[str, Any]) -> dict[Where, Any]:
        """The stored vectors whose text has not changed."""
        before, now = _texts_by_target(old, self._tree), _texts_by_target(document.fields, self._tree)
        found = {where: at(old, where) for where, text in now.items() if before.get(where) == text}
        return {where: vector for where, vector in found.items() if vector is not None}

    def _groups(self, works: Sequence[_Work]) -> list[list[_Work]]:
        groups: list[list[_Work]] = []
        size = TEXTS_A_CALL
        for work in works:
            if size + len(work.texts) > max(TEXTS_A_CALL, self._batch_size):
                groups.append([])
                size = 0
            groups[-1].append(work)
            size += len(work.texts)
        return groups

    async def _infer(self, works: Sequence[_Work]) -> None:
        try:
            await self._predict(works)
        except (TooManyRequests, Unavailable) as error:
            _fail(works, error)
        except BridgeError as error:
            if len(works) == 1:
                _fail(works, error)
            else:
                await self._infer_singly(works, error)

    async def _infer_singly(self, works: Sequence[_Work], error: BridgeError) -> None:
        """A call with several documents failed: whose fault was it? When the first alone meets the same error it is
        no document's, and asking for each would only load a model that cannot answer."""
        first, rest = works[0], works[1:]
        await self._infer([first])
        if first.error is not None and (type(first.error), first.error.reason) == (type(error), error.reason):
            _fail(rest, error)
            return
        for work in rest:
            await self._infer([work])

    async def _predict(self, works: Sequence[_Work]) -> None:
        texts = [(text, work) for work in works for text in work.texts]
        order = sorted(range(len(texts)), key=lambda place: len(texts[place][0]))
        asked = TextDocsInput(
            text_docs=tuple(texts[place][0] for place in order), target_response=(RESPONSE,), kind="passage"
        )
        # All documents of one run come in one request.
        caller = works[0].document.caller
        found = embeddings(await self._predictor.predict(self.model_id, asked, caller=caller), len(order))
        by_place = dict(zip(order, found, strict=True))
        for place, (_, work) in enumerate(texts):
            work.vectors.append(vector_json(by_place[place]))

    def _finish(self, work: _Work) -> Outcome:
        if work.error is not None:
            return work.error
        if not work.vectors and not work.kept:
            return work.document.fields
        fresh = iter(work.vectors)

        def take(_: str, where: Where) -> Any:
            return work.kept[where] if where in work.kept else next(fresh)

        return embed(work.document.fields, self._tree, take)


def _fail(works: Sequence[_Work], error: BridgeError) -> None:
    for work in works:
        work.vectors.clear()
        work.error = error


def _texts_by_target(fields: Mapping[str, Any], tree: Tree) -> dict[Where, str]:
    found: dict[Where, str] = {}

    def take(text: str, where: Where) -> None:
        found[where] = text

    try:
        embed(fields, tree, take)
    except BridgeError:
        return {}
    return found


def embeddings(output: MLOutput, count: int) -> list[NDArray[np.float32]]:
    """The vectors of `count` texts: local models answer one result per text, remote ones one result with a tensor
    per text. Raises EngineError when their number does not match."""
    tensors = [tensor for result in output.inference_results for tensor in result.output if tensor.data is not None]
    named = [tensor for tensor in tensors if tensor.name == RESPONSE]
    found = [np.asarray(tensor.data, dtype=np.float32).ravel() for tensor in named or tensors]
    if len(found) != count:
        raise EngineError(f"The model gave {len(found)} vectors for {count} texts.")
    return found


def vector_json(vector: NDArray[np.float32]) -> Any:
    """A vector as ready JSON, each number with the shortest digits that give the same float32 back."""
    return raw_json(dumps(np.ascontiguousarray(vector, dtype=np.float32)))


def build(config: Mapping[str, Any], services: IngestServices, *, tag: str | None = None) -> TextEmbedding:
    """Raises InvalidRequest (or InternalConfiguration where the real server answers 500) with its texts."""
    properties = Properties(KIND, config, tag=tag)
    batch_size = properties.integer("batch_size", 1)
    if batch_size < 1:
        raise properties.wrong("batch_size", "batch size must be a positive integer")
    model_id = properties.text("model_id")
    field_map = properties.mapping("field_map")
    skip_existing = properties.flag("skip_existing")
    properties.finish()
    if not model_id.strip():
        raise _unusable("model_id is null or empty, cannot process it", tag)
    try:
        tree = tree_of(field_map)
    except ValueError:
        raise _unusable("Unable to create the processor as field_map has invalid key or value", tag) from None
    return TextEmbedding(
        model_id, tree, batch_size=batch_size, skip_existing=skip_existing, predictor=services.predictor
    )


def _unusable(reason: str, tag: str | None) -> InternalConfiguration:
    details = {"processor_type": KIND} if tag is None else {"processor_type": KIND, "processor_tag": tag}
    return InternalConfiguration(f"java.lang.IllegalArgumentException: {reason}", **details)
