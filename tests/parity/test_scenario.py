"""The smallest scenario: a group's life, to show how the others are written."""

from __future__ import annotations

import pytest
from scenario import ML, Side, Step, play

pytestmark = [pytest.mark.parity, pytest.mark.timeout(300)]


async def test_a_group(sides: tuple[Side, Side]) -> None:
    await play(
        [
            Step(
                "make",
                "POST",
                f"{ML}/model_groups/_register",
                {"name": "<unique>"},
                capture={"group": "model_group_id"},
            ),
            Step("read", "GET", f"{ML}/model_groups/<group>"),
            Step("again", "POST", f"{ML}/model_groups/_register", {"name": "<unique>"}),
            Step("delete", "DELETE", f"{ML}/model_groups/<group>"),
            Step("gone", "GET", f"{ML}/model_groups/<group>"),
        ],
        *sides,
    )
