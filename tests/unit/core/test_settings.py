from __future__ import annotations

from pathlib import Path

import pytest

from bridge import settings as table
from bridge.settings import Settings


def test_a_flag_beats_the_file_which_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text('cluster = ["http://a:1", "http://b:2"]\nlisten = "0.0.0.0:1"\n')
    settings = table.read({"listen": "127.0.0.1:2", "roles": None}, file)
    assert settings.cluster_urls == ("http://a:1", "http://b:2")
    assert settings.listen_address == ("127.0.0.1", 2)
    assert settings.roles == "proxy,ml"


def test_an_unknown_option_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text("clutser = 'x'\n")
    with pytest.raises(ValueError, match="clutser"):
        table.read({}, file)


def test_secrets_are_read_from_files_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("canary-password\n")
    settings = table.read({"user": "u", "password_file": str(tmp_path / "p"), "bearer_token": "canary-token"}, None)
    assert settings.password == "canary-password"
    assert "canary" not in repr(settings)
    assert Settings.from_json(settings.to_json()) == settings


def test_credentials_in_a_url_are_taken_out_of_it() -> None:
    settings = Settings(cluster="https://admin:canary%21@one:9200,https://two:9200")
    assert settings.cluster_urls == ("https://one:9200", "https://two:9200")
    assert (settings.user, settings.password) == ("admin", "canary!")
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [{"roles": "search"}, {"roles": ""}, {"listen": "nowhere"}, {"listen": "h:99999"}, {"cluster": "ftp://x"},
     {"tls_cert": "only.pem"}, {"secret_key": "short"}],
)  # fmt: skip
def test_wrong_values_are_refused_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="--"):
        Settings(**wrong)


def test_an_address_of_every_interface_is_advertised_by_name() -> None:
    assert not Settings(listen=":9700").advertised.startswith("0.0.0.0")
    assert Settings(listen="127.0.0.1:9").advertised == "127.0.0.1:9"
    assert Settings(listen="[::1]:9").listen_address == ("::1", 9)


def test_every_option_has_help_and_a_variable() -> None:
    assert all(option.metadata["help"] for option in table.option_fields())
    assert {table.variable(o) for o in table.option_fields()} >= {"BRIDGE_CLUSTER", "BRIDGE_INDEX_PREFIX"}
