"""Requests signed for managed clusters (SigV4) with the credentials that boto3 finds."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.errors import InvalidRequest
from bridge.store.exchange import Sign


def signer(region: str, service: str) -> Sign:
    """Sign with environment, profile, container or instance credentials, whichever boto3 finds.

    Raises InvalidRequest when boto3 is not installed or finds none.
    """
    try:
        import boto3
    except ImportError as error:
        raise InvalidRequest("signing requests for AWS needs boto3: install the extra [aws]") from error
    from opensearchpy.helpers.signer import AWSV4Signer

    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise InvalidRequest("boto3 found no AWS credentials to sign requests with")
    library = AWSV4Signer(credentials, region, service)

    async def sign(method: str, url: str, body: bytes | None, headers: dict[str, str]) -> dict[str, str]:
        # A proxy may rewrite this header, which would break the signature.
        stable = {name: value for name, value in headers.items() if name != "connection"}
        # Credentials that are about to expire are renewed in here, by a blocking call.
        signed: dict[str, Any] = await asyncio.to_thread(library.sign, method, url, body, stable)
        return signed

    return sign
