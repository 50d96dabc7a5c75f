"""Where a connector may connect to. A host's addresses are looked up, checked and handed to the connection in one step,
so no second look-up can give others."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult

from bridge.errors import InvalidRequest

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_private(address: str) -> bool:
    """Whether an address is anything but one host on the public Internet; addresses inside others are looked at, too.

    Raises ValueError when it is no address.
    """
    return _private(ipaddress.ip_address(address))


def _private(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner:
            return any(_private(one) for one in inner)
        if address.is_site_local:
            return True
    return not address.is_global or address.is_multicast


def _inner(address: ipaddress.IPv6Address) -> tuple[Address, ...]:
    """IPv4 addresses that a network may unpack from this one."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    # The first: translated by NAT64; the second: the old IPv4-compatible form (but :: and ::1 are their own).
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return (low,)
    return ()


def refuse_private(host: str, addresses: list[str]) -> None:
    """Raises InvalidRequest when one of the host's addresses is private."""
    if any(is_private(address) for address in addresses):
        raise InvalidRequest(f"Remote inference host name has private ip address: {host}")


def unknown_host(host: str) -> InvalidRequest:
    """As Java words it."""
    reason = f"{host}: Name or service not known"
    return InvalidRequest(reason, caused_by={"type": "unknown_host_exception", "reason": reason})


def literal(host: str) -> str | None:
    """The address that a URL's host already is; None for a name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


class CheckedResolver(AbstractResolver):
    """Gives a host's addresses, all of which were checked; for aiohttp's connector.

    `resolve` raises InvalidRequest for a private address (unless `allow_private()`) and for an unknown host.
    """

    def __init__(self, allow_private: Callable[[], bool]) -> None:
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise unknown_host(host) from None
        if not self._allow_private():
            refuse_private(host, [str(entry[4][0]) for entry in found])
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is held open."""
