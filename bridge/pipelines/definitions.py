"""Ingest pipelines as users write them: checked, split, and made ready to run."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.errors import BridgeError, InvalidRequest
from bridge.pipelines.split import Processor, chain_of, elements_of, held_in, split
from bridge.processors.ingest import IngestProcessor, IngestServices
from bridge.processors.properties import Properties
from bridge.processors.registry import INGEST, NOT_SERVED_INGEST


@dataclass(frozen=True, kw_only=True)
class Step:
    """One processor of ours with the options that every processor has."""

    kind: str
    processor: IngestProcessor
    tag: str | None = None
    ignore_failure: bool = False
    on_failure: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class IngestPipeline:
    """A pipeline that holds processors of ours.

    `steps` run in the bridge; `residue` is what stands in the cluster under the same name and runs there. `broken`
    is set where a stored definition can't be run by this version of the bridge: nothing may be written through it.
    """

    name: str
    definition: Mapping[str, Any]
    residue: Mapping[str, Any]
    steps: tuple[Step, ...] = ()
    broken: BridgeError | None = None

    @property
    def has_native(self) -> bool:
        """Whether processors of the cluster's own follow."""
        return bool(chain_of(self.residue.get("processors", ())))


def broken_pipeline(name: str, definition: Mapping[str, Any], error: BridgeError) -> IngestPipeline:
    """A stored pipeline that this bridge can't run."""
    return IngestPipeline(name=name, definition=definition, residue=definition, broken=error)


def read_ingest(name: str, definition: Any, services: IngestServices) -> IngestPipeline | None:
    """The pipeline, or None when nothing in it is ours and the cluster is to judge it.

    Raises InvalidRequest with the real server's texts, or one that says what can't be split faithfully.
    """
    if not isinstance(definition, Mapping) or not _is_chain(definition.get("processors")):
        return None
    chain = chain_of(definition["processors"])
    refuse_unserved(definition)
    parts = split(chain, INGEST)
    if not parts.before:
        _refuse_in_handlers(definition, INGEST)
        return None
    steps = tuple(_step(processor, services) for processor in parts.before)
    _check_handlers(definition, steps)
    residue = {**definition, "processors": elements_of(parts.cluster)}
    return IngestPipeline(name=name, definition=definition, residue=residue, steps=steps)


def _is_chain(processors: Any) -> bool:
    return isinstance(processors, list) and all(isinstance(element, Mapping) for element in processors)


def refuse_unserved(definition: Mapping[str, Any]) -> None:
    """Raises InvalidRequest when a processor of ML Commons or neural-search is named that is not served yet."""
    lists = [definition.get(key) for key in ("processors", "on_failure")]
    chain = chain_of([e for some in lists if isinstance(some, list) for e in some if isinstance(e, Mapping)])
    for kind, config in chain:
        found = kind if kind in NOT_SERVED_INGEST else held_in(config, NOT_SERVED_INGEST)
        if found is not None:
            raise InvalidRequest(
                f"processor [{found}] is not served by this bridge yet", kind="parse_exception", processor_type=found
            )


def _refuse_in_handlers(definition: Mapping[str, Any], ours: Container[str]) -> None:
    handlers = definition.get("on_failure")
    if not _is_chain(handlers):
        return
    for kind, config in chain_of(handlers or ()):
        found = kind if kind in ours else held_in(config, ours)
        if found is not None:
            raise InvalidRequest(f"processor [{found}] in [on_failure] of a pipeline is not served by this bridge")


def _check_handlers(definition: Mapping[str, Any], steps: Sequence[Step]) -> None:
    """A pipeline's own on_failure runs in the cluster, which never hears of a failure in the bridge: it is taken only
    where ours can't fail."""
    _refuse_in_handlers(definition, INGEST)
    if definition.get("on_failure") and not all(step.ignore_failure for step in steps):
        raise InvalidRequest(
            f"[on_failure] of a pipeline that holds processor [{steps[0].kind}] is not served by this bridge: the "
            "handlers would not see its failures; give the processor [ignore_failure] instead"
        )


def _step(processor: Processor, services: IngestServices) -> Step:
    kind, config = processor
    if not isinstance(config, dict):
        raise Properties(kind, {}).not_a_map(config)
    own = dict(config)
    common = Properties(kind, {key: own.pop(key) for key in _COMMON if key in own}, anonymous=True)
    tag = common.optional_text("tag")
    common.optional_text("description")
    ignore_failure = common.flag("ignore_failure")
    if "if" in own:
        raise InvalidRequest(f"[if] on processor [{kind}] is not served by this bridge", processor_type=kind)
    handlers = own.pop("on_failure", None)
    return Step(
        kind=kind,
        tag=tag,
        ignore_failure=ignore_failure,
        on_failure=tuple(_handlers(kind, tag, handlers, services)),
        processor=INGEST[kind](own, services, tag=tag),
    )


_COMMON = ("tag", "description", "ignore_failure")


def _handlers(kind: str, tag: str | None, handlers: Any, services: IngestServices) -> Iterator[Step]:
    if handlers is None:
        return
    properties = Properties(kind, {}, tag=tag)
    if not _is_chain(handlers):
        raise properties.wrong("on_failure", "property isn't a list")
    if not handlers:
        raise properties.wrong("on_failure", "processors list cannot be empty")
    for name, config in chain_of(handlers):
        if name not in INGEST:
            raise InvalidRequest(
                f"processor [{name}] in [on_failure] of processor [{kind}] is not served by this bridge: it runs in "
                "the cluster, which never hears of a failure here"
            )
        yield _step((name, config), services)


def called_pipelines(definition: Any) -> set[str]:
    """The names that `pipeline` processors of a definition call, at any depth."""
    found: set[str] = set()
    waiting = [definition]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            called = value.get("pipeline")
            if isinstance(called, Mapping) and isinstance(called.get("name"), str):
                found.add(called["name"])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found
