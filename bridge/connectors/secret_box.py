"""Credentials at rest: AES-256-GCM with a key that never enters the cluster.

A sealed value reads `bridge1:<key id>:<base64 of nonce and ciphertext>`. The document's id and the field's name are
authenticated with it, so a value moved to another connector or field does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.errors import BridgeError

KEY_BYTES = 32
_FORM = "bridge1"
_NONCE_BYTES = 12


class Sealed(BridgeError):
    """A credential that this bridge cannot open."""

    status = 500
    default_kind = "credential_exception"


class SecretBox:
    """Seals with the first key, opens with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a secret key has {KEY_BYTES} bytes")
        self._keys = {key_id(key): AESGCM(key) for key in keys}
        self.key_id = key_id(keys[0])

    def seal(self, credential: Mapping[str, str], owner: str) -> dict[str, str]:
        """Every value encrypted for the document `owner`."""
        return {name: self._sealed(value, owner, name) for name, value in credential.items()}

    def open(self, credential: Mapping[str, str], owner: str) -> dict[str, str]:
        """The values. Raises Sealed naming the key that is missing, or saying that a value was changed."""
        return {name: self._opened(value, owner, name) for name, value in credential.items()}

    def _sealed(self, value: str, owner: str, name: str) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        hidden = self._keys[self.key_id].encrypt(nonce, value.encode("utf-8", "surrogatepass"), _place(owner, name))
        return f"{_FORM}:{self.key_id}:{base64.b64encode(nonce + hidden).decode()}"

    def _opened(self, value: str, owner: str, name: str) -> str:
        form, _, rest = value.partition(":")
        used, _, encoded = rest.partition(":")
        if form != _FORM:
            raise Sealed(f"The credential {name} was not written by a bridge: update the connector with it.")
        if used not in self._keys:
            raise Sealed(
                f"The credential {name} was encrypted with the secret key {used}, and this bridge has"
                f" {', '.join(self._keys)}: give all bridges of a cluster the same secret key."
            )
        try:
            raw = base64.b64decode(encoded, validate=True)
            opened = self._keys[used].decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _place(owner, name))
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Sealed(f"The credential {name} was changed in the index or moved to another document.") from error
        return opened.decode("utf-8", "surrogatepass")


def key_id(key: bytes) -> str:
    """Eight characters by which a key is named; they tell nothing about it."""
    return hashlib.sha256(b"opensearch-ml-bridge key id\0" + key).hexdigest()[:8]


def _place(owner: str, name: str) -> bytes:
    return f"{owner}\0{name}".encode("utf-8", "surrogatepass")


def read_keys(text: str) -> list[bytes]:
    """Keys as base64 of 32 bytes each, separated by commas or white space. Raises ValueError."""
    keys = []
    for word in text.replace(",", " ").split():
        try:
            key = base64.b64decode(word, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a secret key is base64 of {KEY_BYTES} random bytes (openssl rand -base64 {KEY_BYTES})")
        keys.append(key)
    return keys


def key_file(path: Path) -> list[bytes]:
    """The keys in a file that only its owner may read; made with a new key when it is not there. Raises OSError and
    ValueError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_bytes(fresh)
        try:
            # Linked, not renamed: of two processes that start together the first one's key stays.
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    keys = read_keys(path.read_text(encoding="ascii"))
    if not keys:
        raise ValueError(f"{path} holds no secret key")
    return keys
