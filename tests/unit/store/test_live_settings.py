"""Cluster-wide settings in one document: all or nothing, at once here, soon elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.domain.cluster_settings import ClusterSettings
from bridge.domain.setting_rules import RULES, SettingValue, check
from bridge.errors import ClusterUnavailable, InvalidRequest
from bridge.store.in_memory import InMemoryDocuments
from bridge.store.live_settings import DOCUMENT_ID, LiveSettings

ML = "plugins.ml_commons."
ILLEGAL, SETTINGS = "illegal_argument_exception", "settings_exception"
NO_BOOL = "Failed to parse value [yes] as only [true] or [false] are allowed."
TOO_BIG = "Failed to parse value [2] for setting [%s] must be <= 1.0"
NO_SIZE = "failed to parse setting [%s] with value [5] as a size in bytes: unit is missing or unrecognized"


def documents() -> InMemoryDocuments[dict[str, Any]]:
    return InMemoryDocuments(dict)


async def test_a_change_counts_at_once_and_elsewhere_after_a_look() -> None:
    kept = documents()
    here, there = LiveSettings(kept), LiveSettings(kept)
    done = await here.change(persistent={ML + "max_model_on_node": "3", ML + "exclude_nodes._name": "a,b"})
    assert done.persistent == {ML + "exclude_nodes._name": "a,b", ML + "max_model_on_node": "3"}
    assert (here.current.max_model_on_node, here.current.exclude_nodes__name) == (3, "a,b")
    assert there.current.max_model_on_node == 10
    await there.refresh()
    assert there.current.max_model_on_node == 3


async def test_transient_stands_before_persistent_and_null_and_wildcards_reset() -> None:
    live = LiveSettings(documents())
    key = ML + "only_run_on_ml_node"
    await live.change(persistent={key: "true"}, transient={key: "false"})
    assert live.current.only_run_on_ml_node is False
    assert (await live.change(transient={key: None})).transient == {}
    assert live.current.only_run_on_ml_node is True
    await live.change(persistent={key: "false", ML + "max_model_on_node": "2"})
    await live.change(persistent={ML + "*": None})
    assert live.current == ClusterSettings()
    assert live.kept.persistent == {}


async def test_one_bad_key_refuses_all() -> None:
    live = LiveSettings(documents())
    with pytest.raises(InvalidRequest, match="max_model_on_node"):
        await live.change(transient={ML + "max_model_on_node": "x", ML + "local_model.enabled": "false"})
    assert live.current.local_model_enabled is True
    assert live.kept.transient == {}


async def test_what_the_process_forbids_stays_off() -> None:
    key = ML + "allow_registering_model_via_url"
    live = LiveSettings(documents(), forbidden=frozenset({"allow_registering_model_via_url"}))
    assert live.current.allow_registering_model_via_url is False
    assert live.defaults()[key] == "false"
    await live.change(persistent={key: "true"})
    assert live.current.allow_registering_model_via_url is False


async def test_simultaneous_changes_are_all_kept() -> None:
    kept = documents()
    lives = [LiveSettings(kept) for _ in range(4)]
    numbers = ("max_model_on_node", "max_ml_task_per_node", "native_memory_threshold", "monitoring_request_count")
    await asyncio.gather(*(live.change(persistent={ML + name: "7"}) for live, name in zip(lives, numbers, strict=True)))
    for live in lives:
        await live.refresh()
        assert {getattr(live.current, name) for name in numbers} == {7}


async def test_a_cluster_that_cannot_be_read_leaves_all_as_it_was() -> None:
    kept = documents()
    live = LiveSettings(kept, refresh_seconds=0.01)
    await live.change(persistent={ML + "max_model_on_node": "3"})
    read, tries = kept.get, 0

    async def broken(id: str) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ClusterUnavailable("gone")
        if tries == 5:
            live.stop()
        return await read(id)

    kept.get = broken  # type: ignore[method-assign]
    await live.run()
    assert tries == 5
    assert live.current.max_model_on_node == 3


async def test_values_of_another_version_are_left_out() -> None:
    kept = documents()
    values = {ML + "max_model_on_node": "many", ML + "of_tomorrow": "1", ML + "max_ml_task_per_node": "4"}
    await kept.create({"settings": {"persistent": values}}, id=DOCUMENT_ID)
    live = LiveSettings(kept)
    await live.refresh()
    assert (live.current.max_model_on_node, live.current.max_ml_task_per_node) == (10, 4)


def _failure(key: str, value: SettingValue | None) -> tuple[str, str, Any]:
    with pytest.raises(InvalidRequest) as refused:
        check("transient", ML + key, value)
    return refused.value.kind, refused.value.reason.replace(ML, ""), refused.value.details.get("caused_by")


@pytest.mark.parametrize(
    ("key", "value", "kind", "reason"),
    [
        ("max_model_on_node", "abc", ILLEGAL, "Failed to parse value [abc] for setting [%s]"),
        ("max_model_on_node", ("1",), ILLEGAL, "Failed to parse value [[1]] for setting [%s]"),
        ("max_model_on_node", "-1", ILLEGAL, "Failed to parse value [-1] for setting [%s] must be >= 0"),
        ("max_json_size", "99999999999", ILLEGAL, "Failed to parse value [99999999999] for setting [%s]"),
        ("only_run_on_ml_node", "yes", ILLEGAL, NO_BOOL),
        ("model_auto_redeploy_success_ratio", "2", ILLEGAL, TOO_BIG),
        ("disk_free_space_threshold", "5", ILLEGAL, NO_SIZE),
        ("multi_tenancy_enabled", "true", SETTINGS, "transient setting [%s], not dynamically updateable"),
        ("remote_metadata_type", None, SETTINGS, "final transient setting [%s], not updateable"),
        ("bogus", None, SETTINGS, "transient setting [%s], not recognized"),
        ("*", "1", SETTINGS, "transient setting [%s], not recognized"),
    ],
)  # fmt: skip
def test_refusals_have_the_clusters_words(key: str, value: SettingValue | None, kind: str, reason: str) -> None:
    found = _failure(key, value)
    assert found[:2] == (kind, reason % key if "%s" in reason else reason)


def test_a_number_that_is_none_says_why() -> None:
    cause = {"type": "number_format_exception", "reason": 'For input string: "abc"'}
    assert _failure("max_model_on_node", "abc")[2] == cause
    assert _failure("trusted_url_regex", "[")[1].startswith("Failed to parse value [[] for setting")


SIZE = "disk_free_space_threshold"
RATIO = "model_auto_redeploy_success_ratio"
FRACTION = (
    "Failed to parse bytes value [%s]. Fractional bytes values have been deprecated since Legacy 6.2. Use "
    f"non-fractional bytes values instead: found for setting [{SIZE}]"
)
NUMBER = 'For input string: "%s"'


@pytest.mark.parametrize(
    ("value", "reason", "causes"),
    [
        ("1.5gb", FRACTION % "1.5gb", ["parse_exception", NUMBER % "1.5"]),
        (" 1.0 KB", FRACTION % " 1.0 KB", ["parse_exception", NUMBER % "1.0"]),
        ("1e2k", FRACTION % "1e2k", ["parse_exception", NUMBER % "1e2"]),
        ("1_0kb", "failed to parse [1_0kb]", ["parse_exception", NUMBER % "1_0"]),
        ("1.5b", f"Failed to parse value [1.5b] for setting [{SIZE}]", [NUMBER % "1.5"]),
        ("-5b", "Values less than -1 bytes are not supported: -5b", []),
        (
            "99999999pb",
            f"failed to parse setting [{SIZE}] with value [99999999pb] as a size in bytes",
            ["parse_exception", f"Values greater than {2**63 - 1} bytes are not supported: 99999999pb"],
        ),
    ],
)
def test_sizes_are_whole_numbers_of_their_unit(value: str, reason: str, causes: list[str]) -> None:
    kind, told, cause = _failure(SIZE, value)
    assert (kind, told) == (ILLEGAL, reason)
    for wanted in causes:
        assert wanted in (cause["type"], cause["reason"])
        cause = cause.get("caused_by")
    assert cause is None


@pytest.mark.parametrize("value", ["0", "-1", "-1b", "+1gb", "1 GB ", "7k", f"{2**63 - 1}b"])
def test_sizes_that_are_some(value: str) -> None:
    check("transient", ML + SIZE, value)


@pytest.mark.parametrize("value", [" 0.5 ", "0.5f", ".5", "1.00000001", "-1e-50", "-0.0", "1e-400"])
def test_a_ratio_is_read_with_the_precision_of_a_float(value: str) -> None:
    check("transient", ML + RATIO, value)


def test_infinity_is_beyond_a_limit_and_nan_is_no_number() -> None:
    assert _failure(RATIO, "Infinity")[1] == f"Failed to parse value [Infinity] for setting [{RATIO}] must be <= 1.0"
    assert _failure(RATIO, "-Infinity")[1].endswith("must be >= 0.0")
    for value in ("NaN", "-NaN", "nan", "inf"):
        assert _failure(RATIO, value)[2]["reason"] == NUMBER % value


def test_every_default_fits_its_own_rule() -> None:
    live = LiveSettings(documents())
    for key, value in live.defaults().items():
        rule = RULES[key.removeprefix(ML)]
        if rule.scope == "dynamic":
            check("persistent", key, value)
