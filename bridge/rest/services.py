"""What the handlers call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bridge.connectors.catalog import Connectors
from bridge.domain.cluster_settings import CurrentSettings, FixedSettings
from bridge.domain.model import Model, ModelChunk
from bridge.models.access import Access
from bridge.models.controllers import Controllers
from bridge.models.deploy import Deployer
from bridge.models.groups import Groups
from bridge.models.node_reports import NodeReports
from bridge.models.profile import Profiles
from bridge.models.register import TRUSTED_URL
from bridge.models.remote_register import RemoteRegistration
from bridge.models.removal import ModelRemoval
from bridge.models.routed_predictor import RoutedPredictor
from bridge.models.update import ModelUpdate
from bridge.models.upload import Uploads
from bridge.rest.identity import Identities
from bridge.store.cluster import Cluster
from bridge.store.documents import Documents
from bridge.store.stores import IndexNames
from bridge.tasks.queue import TaskQueue


@dataclass(frozen=True, kw_only=True)
class Services:
    """Built by the composition root; `internal_token` is what other nodes must show to run models here."""

    cluster: Cluster
    names: IndexNames
    models: Documents[Model]
    tasks: TaskQueue
    groups: Groups
    access: Access
    deployer: Deployer
    removal: ModelRemoval
    chunks: Documents[ModelChunk]
    configs: Documents[dict[str, Any]]
    uploads: Uploads
    update: ModelUpdate
    controllers: Controllers
    reports: NodeReports
    profiles: Profiles
    predictor: RoutedPredictor
    connectors: Connectors
    remote: RemoteRegistration
    identities: Identities
    internal_token: str
    trusted_url: str = TRUSTED_URL
    allow_register_by_url: bool = True
    settings: CurrentSettings = field(default_factory=FixedSettings)


SERVICES = web.AppKey("services", Services)


def services(request: web.Request) -> Services:
    """Those of the application that serves this request."""
    return request.app[SERVICES]
