"""Query parameters: of one given twice the last counts; unknown ones and switches that are none are refused.

All as the cluster does it (org.opensearch.rest.RestRequest, BaseRestHandler).
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from bridge.errors import InvalidRequest
from bridge.wire import read_flag

GENERIC = ("pretty", "human", "error_trace", "filter_path", "format")
_GENERIC_SWITCHES = ("pretty", "human", "error_trace")
_SWITCHES = ("deploy", "return_content")
_ALIKE = 0.5


def last(request: web.Request, name: str, default: str = "") -> str:
    """The parameter's value; of several the last, as the cluster reads them."""
    return request.query.getall(name, [default])[-1]


def check_generic(request: web.Request) -> None:
    """Raises InvalidRequest for a switch that every route has, and that is neither on nor off.

    The cluster looks at these before all else, even whether there is such a route.
    """
    _check_switches(request, _GENERIC_SWITCHES)


def _check_switches(request: web.Request, names: Sequence[str]) -> None:
    for name in names:
        # Without a value it is on.
        read_flag(last(request, name) or "true")


def check(request: web.Request, known: Sequence[str]) -> None:
    """Raises InvalidRequest for a switch among `known` that is neither on nor off, and for parameters besides the
    generic ones and `known`, with what may have been meant."""
    _check_switches(request, [name for name in known if name in _SWITCHES])
    unknown = sorted(set(request.query) - set(known) - set(GENERIC))
    if not unknown:
        return
    names = [*known, *GENERIC, *request.match_info]
    listed = ", ".join(f"[{name}]{_meant(name, names)}" for name in unknown)
    kind = "parameter" if len(unknown) == 1 else "parameters"
    raise InvalidRequest(f"request [{request.path}] contains unrecognized {kind}: {listed}")


def _meant(name: str, names: Sequence[str]) -> str:
    alike = sorted((-likeness, known) for known in set(names) if (likeness := _likeness(name, known)) > _ALIKE)
    found = [known for _, known in alike]
    if not found:
        return ""
    return f" -> did you mean [{found[0]}]?" if len(found) == 1 else f" -> did you mean any of [{', '.join(found)}]?"


def _likeness(one: str, other: str) -> float:
    """1 for equal texts, 0 for texts that have nothing in common: by the number of letters to change (Levenshtein)."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        above, row = row, [number]
        for place, another in enumerate(other, 1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (letter != another)))
    return 1 - row[-1] / max(len(one), len(other), 1)
