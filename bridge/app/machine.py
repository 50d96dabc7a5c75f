"""What this node says of the machine under it."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.domain.node import Device
from bridge.engines import devices, memory
from bridge.models.inference import InferenceProcess


async def machine(inference: InferenceProcess | None) -> dict[str, Any]:
    """Fields of the node's document that follow the machine: free memory in bytes, and where models can run."""
    have = await asyncio.to_thread(memory.read)
    fields: dict[str, Any] = {"memory_free": have.available}
    if inference is not None:
        found = [Device(name="cpu", kind="cpu", memory_total=have.total, memory_free=have.available)]
        found += [await asyncio.to_thread(_gpu, number) for number in devices.gpu_nodes()]
        fields["devices"] = tuple(found)
    return fields


def _gpu(number: int) -> Device:
    have = memory.gpu(number)
    told = {} if have is None else {"memory_total": have.total, "memory_free": have.available}
    return Device(name=f"cuda:{number}", kind="cuda", **told)
