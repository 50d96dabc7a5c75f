"""Credentials at rest."""

from __future__ import annotations

import base64
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.connectors.secret_box import Sealed, SecretBox, key_file, key_id, read_keys

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.dictionaries(st.text(), st.text()), st.text())
def test_what_is_sealed_opens_with_the_same_place_only(credential: dict[str, str], owner: str) -> None:
    box = SecretBox([KEY])
    sealed = box.seal(credential, owner)
    assert box.open(sealed, owner) == credential
    for name, value in sealed.items():
        assert value.startswith(f"bridge1:{key_id(KEY)}:")
        with pytest.raises(Sealed, match="moved"):
            box.open({name: value}, owner + "x")
        with pytest.raises(Sealed, match="moved"):
            box.open({name + "x": value}, owner)


def test_equal_credentials_do_not_look_equal() -> None:
    box = SecretBox([KEY])
    assert box.seal({"k": "v"}, "c")["k"] != box.seal({"k": "v"}, "c")["k"]


def test_a_missing_key_is_named_and_a_former_one_still_opens() -> None:
    sealed = SecretBox([KEY]).seal({"k": "v"}, "c")
    with pytest.raises(Sealed) as refused:
        SecretBox([OTHER]).open(sealed, "c")
    assert key_id(KEY) in refused.value.reason
    assert key_id(OTHER) in refused.value.reason
    assert SecretBox([OTHER, KEY]).open(sealed, "c") == {"k": "v"}
    with pytest.raises(Sealed, match="not written by a bridge"):
        SecretBox([KEY]).open({"k": "AgV4..."}, "c")


def test_changed_values_do_not_open() -> None:
    box = SecretBox([KEY])
    form, key, encoded = box.seal({"k": "value"}, "c")["k"].split(":")
    raw = bytearray(base64.b64decode(encoded))
    raw[-1] ^= 1
    for changed in (base64.b64encode(raw).decode(), "", "!!", base64.b64encode(raw[:12]).decode()):
        with pytest.raises(Sealed, match="was changed"):
            box.open({"k": f"{form}:{key}:{changed}"}, "c")


def test_the_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret.key"
    found: list[list[bytes]] = []
    threads = [threading.Thread(target=lambda: found.append(key_file(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [key_file(path)] * 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["secret.key"]


def test_keys_are_read_as_base64_of_32_bytes() -> None:
    words = [base64.b64encode(key).decode() for key in (KEY, OTHER)]
    assert read_keys(f"{words[0]},{words[1]}\n") == [KEY, OTHER]
    for wrong in ("short", base64.b64encode(b"x" * 31).decode(), "@@@"):
        with pytest.raises(ValueError, match="32 random bytes"):
            read_keys(wrong)
    with pytest.raises(ValueError, match="32 bytes"):
        SecretBox([b"x"])
