"""Which addresses a connector may not reach, and that the check and the connection see the same ones."""

from __future__ import annotations

import socket

import pytest

from bridge.connectors.addresses import CheckedResolver, is_private
from bridge.errors import InvalidRequest


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.5.5", "172.31.255.255", "192.168.1.1", "127.0.0.1", "127.8.9.1", "169.254.169.254",
        "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "2001:db8::1", "fec0::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::a9fe:a9fe",
        "2001:0:7f00:1::1",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address: str) -> None:
    assert not is_private(address)


async def test_names_of_this_machine_are_refused_unless_allowed() -> None:
    refusing = CheckedResolver(lambda: False)
    for host in ("localhost", "127.1", "0x7f.1", "2130706433"):
        with pytest.raises(InvalidRequest) as refused:
            await refusing.resolve(host, 80, socket.AF_INET)
        assert refused.value.reason == f"Remote inference host name has private ip address: {host}"
    found = await CheckedResolver(lambda: True).resolve("localhost", 80, socket.AF_INET)
    assert [one["host"] for one in found] == ["127.0.0.1"]


async def test_a_host_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def two(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, 1, 6, "", ("8.8.8.8", 80)), (socket.AF_INET, 1, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two, raising=False)
    with pytest.raises(InvalidRequest, match="private ip"):
        await CheckedResolver(lambda: False).resolve("mixed.example", 80)


async def test_an_unknown_host_is_said() -> None:
    with pytest.raises(InvalidRequest) as refused:
        await CheckedResolver(lambda: False).resolve("bridge.invalid", 80)
    assert refused.value.reason == "bridge.invalid: Name or service not known"
    assert refused.value.details["caused_by"]["type"] == "unknown_host_exception"
