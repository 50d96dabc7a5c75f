"""All that the bridge keeps, one `Documents` for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge.domain.connector import Connector
from bridge.domain.controller import Controller
from bridge.domain.model import Model, ModelChunk, ModelGroup
from bridge.domain.node import Node
from bridge.domain.pipeline import StoredPipeline
from bridge.domain.task import Claim, Task
from bridge.store.cluster import Cluster
from bridge.store.cluster_documents import ClusterDocuments
from bridge.store.documents import Documents
from bridge.store.in_memory import InMemoryDocuments

DEFAULT_PREFIX = ".plugins-ml-"

IS_CHUNK: dict[str, Any] = {"exists": {"field": "chunk_number"}}
IS_MODEL: dict[str, Any] = {"bool": {"must_not": [IS_CHUNK]}}
"""Models and their chunks share an index, as in ML Commons; searches keep them apart."""


@dataclass(frozen=True)
class IndexNames:
    """The names of the system indices under one prefix."""

    prefix: str = DEFAULT_PREFIX

    def of(self, name: str) -> str:
        """The index of the template `name`."""
        return self.prefix + name

    @property
    def model(self) -> str:
        """Models and their chunks."""
        return self.of("model")

    @property
    def group(self) -> str:
        """Model groups."""
        return self.of("model-group")

    @property
    def task(self) -> str:
        """Tasks as clients see them."""
        return self.of("task")

    @property
    def connector(self) -> str:
        """Connectors of remote models."""
        return self.of("connector")

    @property
    def controller(self) -> str:
        """Rate limits of models for single users."""
        return self.of("controller")

    @property
    def plugin_config(self) -> str:
        """What ML Commons keeps of its own, where it was; the bridge makes no such index."""
        return self.of("config")

    @property
    def claim(self) -> str:
        """The queue: one claim for each unfinished task."""
        return self.of("bridge-claim")

    @property
    def node(self) -> str:
        """Bridge processes and what they hold."""
        return self.of("bridge-node")

    @property
    def pipeline(self) -> str:
        """Pipelines with processors of ours."""
        return self.of("bridge-pipeline")

    @property
    def config(self) -> str:
        """Cluster-wide settings of the bridge."""
        return self.of("bridge-config")


@dataclass(frozen=True)
class Stores:
    """The documents of one cluster and prefix, or of one test. `config` and `plugin_config` hold plain JSON objects."""

    models: Documents[Model]
    chunks: Documents[ModelChunk]
    groups: Documents[ModelGroup]
    tasks: Documents[Task]
    connectors: Documents[Connector]
    controllers: Documents[Controller]
    claims: Documents[Claim]
    nodes: Documents[Node]
    pipelines: Documents[StoredPipeline]
    config: Documents[dict[str, Any]]
    plugin_config: Documents[dict[str, Any]]

    @classmethod
    def on(cls, cluster: Cluster, names: IndexNames) -> Stores:
        """Kept in the cluster; the indices are made by bridge/store/indices.py."""
        return cls(
            models=ClusterDocuments(cluster, names.model, Model, only=IS_MODEL),
            chunks=ClusterDocuments(cluster, names.model, ModelChunk, only=IS_CHUNK),
            groups=ClusterDocuments(cluster, names.group, ModelGroup),
            tasks=ClusterDocuments(cluster, names.task, Task),
            connectors=ClusterDocuments(cluster, names.connector, Connector),
            controllers=ClusterDocuments(cluster, names.controller, Controller),
            claims=ClusterDocuments(cluster, names.claim, Claim),
            nodes=ClusterDocuments(cluster, names.node, Node),
            pipelines=ClusterDocuments(cluster, names.pipeline, StoredPipeline),
            config=ClusterDocuments(cluster, names.config, dict),
            plugin_config=ClusterDocuments(cluster, names.plugin_config, dict),
        )

    @classmethod
    def in_memory(cls, *, instant: bool = True) -> Stores:
        """Kept in this process; with `instant` False searches lag behind writes until a refresh."""
        return cls(
            models=InMemoryDocuments(Model, instant=instant),
            chunks=InMemoryDocuments(ModelChunk, instant=instant),
            groups=InMemoryDocuments(ModelGroup, instant=instant),
            tasks=InMemoryDocuments(Task, instant=instant),
            connectors=InMemoryDocuments(Connector, instant=instant),
            controllers=InMemoryDocuments(Controller, instant=instant),
            claims=InMemoryDocuments(Claim, instant=instant),
            nodes=InMemoryDocuments(Node, instant=instant),
            pipelines=InMemoryDocuments(StoredPipeline, instant=instant),
            config=InMemoryDocuments(dict, instant=instant),
            plugin_config=InMemoryDocuments(dict, instant=instant),
        )
