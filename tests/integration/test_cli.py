"""`bridge init` and `bridge doctor` on real clusters."""

from __future__ import annotations

from pathlib import Path

import pytest
from bridge_fixtures import StartBridge
from click.testing import CliRunner, Result
from local_node import free_port
from server_fixtures import Cluster

from bridge.cli import cli
from bridge.store.indices import TEMPLATES

pytestmark = pytest.mark.integration


def run(tmp_path: Path, *arguments: str, **variables: str) -> Result:
    named = {f"BRIDGE_{name.upper()}": value for name, value in variables.items()}
    return CliRunner().invoke(cli, arguments, env={"BRIDGE_DATA_DIR": str(tmp_path / "data"), **named})


def access(cluster: Cluster) -> dict[str, str]:
    given = {"cluster": cluster.url, "user": cluster.user, "password": cluster.password, "ca": cluster.ca_file}
    return {name: value for name, value in given.items() if value}


def test_init_makes_the_indices_and_may_run_again(cluster: Cluster, index_prefix: str, tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path, "init", "--index-prefix", index_prefix, **access(cluster))
        assert done.exit_code == 0, done.output
        assert f"{len(TEMPLATES)} indices {index_prefix}* are in place" in done.output
    status, mapping = cluster.request("GET", f"/{index_prefix}model/_mapping")
    assert status == 200
    assert mapping[f"{index_prefix}model"]["mappings"]["_meta"]["schema_version"] == 13


def test_doctor_says_ok_before_and_after_init(cluster: Cluster, index_prefix: str, tmp_path: Path) -> None:
    before = run(tmp_path, "doctor", "--index-prefix", index_prefix, **access(cluster))
    assert before.exit_code == 0, before.output
    assert f"{len(TEMPLATES)} of {len(TEMPLATES)} are not made yet" in before.output
    run(tmp_path, "init", "--index-prefix", index_prefix, **access(cluster))
    after = run(tmp_path, "doctor", "--index-prefix", index_prefix, **access(cluster))
    assert "may make, read and write" in after.output
    for word in ("cluster:", "k-NN:", "CPU:", "ONNX:", "memory:", "data folder:"):
        assert word in after.output
    assert "error" not in after.output


def test_doctor_says_what_to_do_when_the_cluster_is_not_there(tmp_path: Path) -> None:
    found = run(tmp_path, "doctor", "--cluster", f"http://127.0.0.1:{free_port()}")
    assert found.exit_code == 1
    assert "check --cluster" in found.output


def test_a_wrong_option_is_said_in_one_line(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", "--roles", "search")
    assert refused.exit_code == 2
    assert "--roles takes proxy, ml or both" in refused.output


@pytest.mark.parity
@pytest.mark.timeout(300)
def test_the_prefix_of_the_real_ml_commons_is_not_shared(
    reference: Cluster, start_bridge: StartBridge, index_prefix: str, tmp_path: Path
) -> None:
    refused = start_bridge(reference.url, prefix=".plugins-ml-", ready=False)
    assert refused.process.wait(60) == 78
    assert "--index-prefix" in refused.log_text()
    found = run(tmp_path, "doctor", **access(reference))
    assert found.exit_code == 1
    assert "--index-prefix" in found.output
    start_bridge(reference.url, prefix=index_prefix)


@pytest.mark.smoke
@pytest.mark.timeout(300)
def test_protected_names_are_explained_with_the_ways_out(secured_cluster: Cluster, tmp_path: Path) -> None:
    refused = run(tmp_path, "init", "--index-prefix", ".plugins-ml-", **access(secured_cluster))
    assert refused.exit_code == 1
    assert "--index-prefix" in refused.output
    assert "system:admin/system_index" in refused.output
