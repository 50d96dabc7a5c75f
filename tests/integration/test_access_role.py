"""The bridge's account: the role in docs/security.md suffices, and `bridge doctor` says what a smaller one lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from local_node import LocalNode
from secured_bridge import Users, documented_role, users_of
from server_fixtures import Cluster, of_node

from bridge.cli import cli
from bridge.store.rights import CLUSTER_RIGHTS, INDEX_RIGHTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def users(secured_cluster: Cluster) -> Iterator[Users]:
    with users_of(secured_cluster) as made:
        yield made


def run(command: str, users: Users, prefix: str, folder: Path) -> Result:
    told = {
        "BRIDGE_CLUSTER": users.admin.url,
        "BRIDGE_CA": users.admin.ca_file,
        "BRIDGE_USER": f"bridge-{users.suffix}",
        "BRIDGE_PASSWORD": users.passwords["bridge"],
        "BRIDGE_INDEX_PREFIX": prefix,
        "BRIDGE_DATA_DIR": str(folder / "data"),
        "BRIDGE_ROLES": "proxy",
    }
    return CliRunner().invoke(cli, [command], env=told)


def test_the_documented_role_names_each_right_that_doctor_asks_for() -> None:
    role = documented_role("x-")
    assert {right.permission for right in CLUSTER_RIGHTS} <= set(role["cluster_permissions"])
    assert {right.permission for right in INDEX_RIGHTS} == set(role["index_permissions"][0]["allowed_actions"])


def test_doctor_and_init_are_content_with_the_documented_role(users: Users, index_prefix: str, tmp_path: Path) -> None:
    users.make("bridge", backend_roles=[], role=documented_role(index_prefix))
    before = run("doctor", users, index_prefix, tmp_path)
    assert before.exit_code == 0, before.output
    assert f"permissions: the bridge may make, read and write {index_prefix}*" in before.output
    done = run("init", users, index_prefix, tmp_path)
    assert done.exit_code == 0, done.output
    after = run("doctor", users, index_prefix, tmp_path)
    assert after.exit_code == 0, after.output
    assert "not made yet" not in after.output


def test_doctor_names_each_right_that_is_missing(users: Users, index_prefix: str, tmp_path: Path) -> None:
    users.make("bridge", backend_roles=[], role=documented_role(index_prefix))
    assert run("init", users, index_prefix, tmp_path).exit_code == 0
    # What only makes and upgrades indices is no error where they are in place.
    setup = [right for right in INDEX_RIGHTS if right.setup]
    less = documented_role(index_prefix)
    for right in setup:
        less["index_permissions"][0]["allowed_actions"].remove(right.permission)
    users.change("bridge", less)
    found = run("doctor", users, index_prefix, tmp_path)
    assert found.exit_code == 0, found.output
    for right in setup:
        assert f"warning  permissions: {right.permission} is missing" in found.output
    least = {"cluster_permissions": ["cluster:monitor/main"], "index_permissions": []}
    users.change("bridge", least)
    found = run("doctor", users, index_prefix, tmp_path)
    assert found.exit_code == 1
    for right in (*CLUSTER_RIGHTS[1:], *INDEX_RIGHTS):
        assert f"error    permissions: {right.permission} is missing" in found.output


def test_the_role_may_use_the_protected_names_where_the_nodes_allow_it(
    private_node: Callable[..., LocalNode], tmp_path: Path
) -> None:
    allowed = {"plugins.security.system_indices.permission.enabled": True}
    cluster = of_node(private_node(variant="security", settings=allowed))
    with users_of(cluster) as users:
        role = documented_role(".plugins-ml-")
        users.make("bridge", backend_roles=[], role=role)
        refused = run("init", users, ".plugins-ml-", tmp_path)
        assert refused.exit_code == 1
        assert "system:admin/system_index" in refused.output
        role["index_permissions"][0]["allowed_actions"].append("system:admin/system_index")
        users.change("bridge", role)
        done = run("init", users, ".plugins-ml-", tmp_path)
        assert done.exit_code == 0, done.output
        found = run("doctor", users, ".plugins-ml-", tmp_path)
        assert found.exit_code == 0, found.output
