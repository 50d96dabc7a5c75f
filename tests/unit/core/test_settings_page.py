"""docs/settings.md names every cluster setting, with the default that counts."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.domain.cluster_settings import ClusterSettings, defaults
from bridge.domain.setting_rules import PREFIX, RULES, Scope

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def _rows() -> dict[str, tuple[str, str]]:
    found = re.findall(r"^\| `([^`]+)` \| (.*?) ?\| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len({key for key, *_ in found}) == len(found)
    return {key: (default.replace("\\|", "|"), meaning) for key, default, meaning in found}


def test_every_key_is_there() -> None:
    assert sorted(_rows()) == sorted(RULES)


def test_defaults_are_true() -> None:
    told = defaults(ClusterSettings())
    for key, (shown, _) in _rows().items():
        value = told[PREFIX + key]
        if key in ("trusted_url_regex", "trusted_connector_endpoints_regex"):
            continue
        assert shown.strip("*") == (value if isinstance(value, str) else ", ".join(value)), key
        assert shown.startswith("*") is (value != RULES[key].default), key


def test_what_cannot_be_changed_says_so() -> None:
    for key, (_, meaning) in _rows().items():
        assert ("cannot be changed" in meaning) is (RULES[key].scope is not Scope.DYNAMIC), key
