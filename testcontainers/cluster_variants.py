"""The kinds of OpenSearch that the tests and the demo run against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maven_artifacts import Artifact

LIBTORCH_VERSION = "2.5.1"
LIBTORCH = Artifact("ai.djl.pytorch", "pytorch-native-cpu", LIBTORCH_VERSION, "jar", "linux-x86_64")
LIBTORCH_JNI = Artifact("ai.djl.pytorch", "pytorch-jni", f"{LIBTORCH_VERSION}-0.32.0", "jar")


@dataclass(frozen=True)
class Variant:
    """One OpenSearch version with its plugins and settings; `heap` in JVM notation."""

    name: str
    version: str
    plugins: tuple[str, ...] = ()
    oldest_java: int = 21
    newest_java: int | None = None
    heap: str = "768m"
    secured: bool = False
    local_models: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def distribution(self) -> Artifact:
        return Artifact("org.opensearch.distribution.integ-test-zip", "opensearch", self.version)

    @property
    def plugin_artifacts(self) -> tuple[Artifact, ...]:
        return tuple(Artifact("org.opensearch.plugin", name, f"{self.version}.0") for name in self.plugins)

    @property
    def home_key(self) -> str:
        """Name of the unpacked home in the cache: the same for all variants made of the same parts."""
        return "-".join([self.version, *sorted(self.plugins)])


# The reference keeps its models in the JVM's process and needs the room; everything it would otherwise refuse in a
# one-node test cluster (plain URLs, private addresses) is allowed.
ML_COMMONS_SETTINGS = {
    "plugins.ml_commons.only_run_on_ml_node": False,
    "plugins.ml_commons.allow_registering_model_via_url": True,
    "plugins.ml_commons.allow_registering_model_via_local_file": True,
    "plugins.ml_commons.allow_custom_deployment_plan": True,
    "plugins.ml_commons.connector.private_ip_enabled": True,
    "plugins.ml_commons.trusted_connector_endpoints_regex": ["^.*$"],
    "plugins.ml_commons.jvm_heap_memory_threshold": 99,
}

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("knn", "3.6.0", ("opensearch-knn",)),
        Variant("plain", "3.6.0"),
        Variant("3.8", "3.8.0"),
        Variant("security", "2.19.4", ("opensearch-security",), oldest_java=17, newest_java=21, secured=True),
        Variant(
            "ml",
            "3.6.0",
            ("opensearch-job-scheduler", "opensearch-ml-plugin", "opensearch-knn", "neural-search"),
            heap="2g",
            local_models=True,
            settings=ML_COMMONS_SETTINGS,
        ),
    )
}
