"""Two bridges that share their documents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from file_server import FileServer
from model_pair import Pair


@pytest.fixture
async def pair(tmp_path: Path, model_server: FileServer) -> AsyncIterator[Pair]:
    made = Pair(tmp_path, model_server)
    async with made.stack:
        yield made
