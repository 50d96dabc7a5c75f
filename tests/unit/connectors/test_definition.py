"""What a connector's body may say: characters of names, names of actions, the action that a model needs."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.connectors.definition import parse_create, parse_inside
from bridge.domain.texts import allowed
from bridge.errors import InvalidRequest

ACTION = {"action_type": "predict", "method": "POST", "url": "https://example.com", "request_body": "{}"}


def body(**changes: Any) -> dict[str, Any]:
    made = {"name": "a", "version": 1, "protocol": "http", "credential": {"k": "v"}, "actions": [ACTION]}
    return {**made, **changes}


@pytest.mark.parametrize("text", ["", "Straße 7", "日本語", "ª½²Ⅷʰ𝐀", "a\n\t\v\f\r b", ".,!?():@-_'/\""])
def test_texts_of_letters_numbers_and_basic_punctuation(text: str) -> None:
    assert allowed(text)
    assert parse_create(body(description=text)).description == text


@pytest.mark.parametrize(
    "character", ["e\u0301", "\U0001f600", "\u00a0", "\u0085", "\u3000", "\u2028", "\x07", "\x1c", "^", "<", "\ud800"]
)
def test_other_characters_are_refused(character: str) -> None:
    assert not allowed(f"a{character}b")
    for name in ("name", "description"):
        with pytest.raises(InvalidRequest, match=f"Model connector {name} can only contain letters, numbers"):
            parse_create(body(**{name: f"a{character}b"}))


@pytest.mark.parametrize("name", ["", " ", "a b", "é"])
def test_names_of_actions(name: str) -> None:
    with pytest.raises(InvalidRequest, match="Action name contains invalid characters"):
        parse_create(body(actions=[{**ACTION, "name": name}]))


@pytest.mark.parametrize("kinds", [(), ("execute",), ("batch_predict", "execute")])
def test_a_connector_inside_of_a_model_predicts(kinds: tuple[str, ...]) -> None:
    actions = [{**ACTION, "action_type": kind} for kind in kinds]
    with pytest.raises(InvalidRequest, match="Connector endpoint is required when creating a remote model"):
        parse_inside(body(actions=actions))
    assert parse_inside(body(actions=[*actions, ACTION])).actions
