"""docs/coverage.md says of each route what the scenarios have shown; BRIDGE_WRITE_COVERAGE=1 writes it anew."""

from __future__ import annotations

import os

import ledger


def test_the_page_is_up_to_date() -> None:
    if os.environ.get("BRIDGE_WRITE_COVERAGE"):
        ledger.write({name: told for name, told in ledger.read().items() if name in ledger.route_names()})
    kept = ledger.read()
    assert set(kept) <= set(ledger.route_names()), ledger.HOW
    assert ledger.PAGE.read_text(encoding="utf-8") == ledger.page(kept), ledger.HOW


def test_every_reason_is_still_given_by_a_scenario() -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in sorted(ledger.RECORDS_FILE.parent.glob("*.py")))
    reasons = {reason for told in ledger.read().values() for reason in told["differs"]}
    assert not [reason for reason in reasons if reason not in written]


def test_what_is_called_unserved_has_no_route() -> None:
    served = set(ledger.route_names())
    for (methods, path), _ in ledger.unserved():
        assert not {f"{method} /_plugins/_ml/{path}" for method in methods.split()} & served, path
