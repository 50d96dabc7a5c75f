"""What boto3 is asked for: its credentials, and requests signed with them (SigV4) for managed clusters."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.errors import InvalidRequest
from bridge.store.exchange import Sign


def session() -> Any:
    """A boto3 session with environment, profile, container or instance credentials, whichever it finds.

    Raises InvalidRequest when boto3 is not installed.
    """
    try:
        import boto3
    except ImportError as error:
        raise InvalidRequest("AWS needs boto3: install the extra [aws] of opensearch-ml-bridge") from error
    return boto3.Session()


def signer(region: str, service: str) -> Sign:
    """Sign with the credentials of `session`.

    Raises InvalidRequest when boto3 is not installed or finds none.
    """
    credentials = session().get_credentials()
    if credentials is None:
        raise InvalidRequest("boto3 found no AWS credentials to sign requests with")
    from opensearchpy.helpers.signer import AWSV4Signer

    library = AWSV4Signer(credentials, region, service)

    async def sign(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> dict[str, str]:
        # A proxy may rewrite this header, which would break the signature.
        stable = {name: value for name, value in headers.items() if name != "connection"}
        # Credentials that are about to expire are renewed in here, by a blocking call.
        signed: dict[str, Any] = await asyncio.to_thread(library.sign, method, url, body, stable)
        return signed

    return sign
