"""The test clusters themselves: what the fixtures promise to every other test."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from file_server import FileServer
from java_homes import find_java
from local_node import write_configuration
from maven_artifacts import Artifact, Unavailable, fetch
from real_models import sha256, write_zip
from server_fixtures import Cluster, missing


def test_artifact_path_follows_the_repository_layout(tmp_path: Path) -> None:
    artifact = Artifact("ai.djl.pytorch", "pytorch-native-cpu", "2.5.1", "jar", "linux-x86_64")
    expected = "ai/djl/pytorch/pytorch-native-cpu/2.5.1/pytorch-native-cpu-2.5.1-linux-x86_64.jar"
    assert artifact.path_in(tmp_path) == tmp_path / expected
    assert str(artifact) == "ai.djl.pytorch:pytorch-native-cpu:2.5.1:jar:linux-x86_64"


def test_missing_maven_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAVEN_REPO", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Install Maven"):
        fetch(Artifact("org.example", "nothing", "1"))


def test_missing_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(Unavailable, match="JDK 9000 or newer"):
        find_java(9000)


def test_configuration_keeps_the_shared_home_unwritten(tmp_path: Path) -> None:
    (tmp_path / "opensearch.yml").write_text("plugins.security.ssl.http.enabled: true\n")
    (tmp_path / "jvm.options").write_text(
        "-Xms1g\n-XX:ErrorFile=logs/x.log\n-XX:HeapDumpPath=data\n11-:-javaagent:a.jar\n"
    )
    write_configuration(tmp_path, {"http.port": 9, "a.list": ["^.*$"], "flag": False}, "256m")
    assert (tmp_path / "jvm.options").read_text() == "11-:-javaagent:a.jar\n-Xms256m\n-Xmx256m\n"
    lines = (tmp_path / "opensearch.yml").read_text().split("\n")
    assert [line for line in lines if line] == [
        "plugins.security.ssl.http.enabled: true",
        "http.port: 9",
        'a.list: ["^.*$"]',
        "flag: false",
    ]


def test_model_zips_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "tokenizer.json").write_text("{}")
    (source / "model.onnx").write_bytes(b"\0" * 1000)
    write_zip(source, tmp_path / "one.zip")
    (source / "model.onnx").touch()
    write_zip(source, tmp_path / "two.zip")
    assert sha256(tmp_path / "one.zip") == sha256(tmp_path / "two.zip")


def test_file_server_serves_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a model.zip"
    file.write_bytes(b"abc" * 100_000)
    with FileServer() as server:
        with urllib.request.urlopen(server.serve(file), timeout=5) as answer:
            assert answer.read() == file.read_bytes()
        assert server.hits == {"a model.zip": 1}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server.url("../secret"), timeout=5)
        with refused.value:
            assert refused.value.code == 404


def test_a_missing_server_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        missing("no server")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no server"):
        missing("no server")


@pytest.mark.integration
def test_default_cluster_has_knn_and_no_ml_commons(cluster: Cluster) -> None:
    status, plugins = cluster.request("GET", "/_cat/plugins?format=json")
    names = {row["component"] for row in plugins}
    assert status == 200
    assert "opensearch-knn" in names
    assert not any("ml" in name for name in names)


@pytest.mark.integration
def test_system_indices_under_the_prefix_can_be_made_and_dropped(cluster: Cluster, index_prefix: str) -> None:
    assert cluster.request("PUT", f"/{index_prefix}model", {})[0] == 200
    assert cluster.request("GET", f"/{index_prefix}model")[0] == 200
    cluster.drop_indices(index_prefix)
    assert cluster.request("GET", f"/{index_prefix}model")[0] == 404
