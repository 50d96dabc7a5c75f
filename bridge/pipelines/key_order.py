"""The order in which the server prints the keys of a source. Pure.

A normal form that `verbose_pipeline` shows has lost it; errors quote the source (contract/processors.md section 12),
and models are given parts of it as texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.pipelines.key_forms import FORMS, OTHER, Form
from bridge.processors.search import Json

_ALIASES = {"aggregations": "aggs"}
_CLAUSE = "clause"
_SORTED = "query.named"
_NAMED_OTHERWISE = {("query", "script"): "script.query", ("sort", "_geo_distance"): "sort._geo_distance"}


def in_order(source: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> Json:
    """A normalised source with its keys as the server prints them. Names that the client chose (of aggregations and
    the like) stand as they do in `like`, the body that was normalised; other keys that no form knows stay first."""
    found = _arranged(source, "source", like or {})
    return found if isinstance(found, dict) else {}


def _arranged(value: Any, name: str, like: Any) -> Any:
    form = FORMS.get(name)
    if form is None:
        return value
    if isinstance(value, list):
        others = like if isinstance(like, list) and len(like) == len(value) else [like] * len(value)
        return [_arranged(item, name, other) for item, other in zip(value, others, strict=True)]
    if not isinstance(value, Mapping):
        return value
    written = like if isinstance(like, Mapping) else {}
    return {
        key: _arranged(value[key], _below(name, form, key), _of(written, key))
        for key in sorted(value, key=None if name == _SORTED else _place(form, list(written)))
    }


def _place(form: Form, written: list[str]) -> Any:
    free = form.places.get(OTHER, -1)
    chosen = {key: place for place, key in enumerate(written)}
    return lambda key: (form.places.get(key, free), 0 if key in form.places else chosen.get(key, len(chosen)))


def _of(written: Mapping[str, Any], key: str) -> Any:
    return written.get(key, written.get(_ALIASES.get(key, key)))


def _below(name: str, form: Form, key: str) -> str:
    """The form of what stands below a key; a clause has the form of its own name, where there is one."""
    below = form.below.get(key) or ("" if key in form.places else form.below.get(OTHER, ""))
    own = key if below == _CLAUSE and key in FORMS else below
    return _NAMED_OTHERWISE.get((name, key), own)
