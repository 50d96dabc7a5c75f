"""The permission of the ML plugin that each handler stands for."""

from __future__ import annotations

from bridge.models.permissions import PREDICT
from bridge.rest import (
    configs,
    connectors,
    controllers,
    deployment,
    model_groups,
    models,
    predict,
    profile,
    stats,
    tasks,
    uploads,
)
from bridge.rest.errors import Handler

PERMISSIONS: dict[Handler, str] = {
    models.register: "register_model",
    models.get: "models/get",
    models.search_models: "models/search",
    models.update: "models/update",
    models.delete: "models/delete",
    uploads.begin: "register_model_meta",
    uploads.add_chunk: "upload_model_chunk",
    deployment.deploy: "deploy_model",
    deployment.undeploy: "undeploy_models",
    deployment.undeploy_several: "undeploy_models",
    predict.predict: PREDICT,
    predict.batch_predict: PREDICT,
    tasks.get: "tasks/get",
    tasks.search_tasks: "tasks/search",
    tasks.delete: "tasks/delete",
    tasks.cancel: "tasks/cancel",
    connectors.create: "create_connector",
    connectors.get: "connectors/get",
    connectors.search_connectors: "connectors/search",
    connectors.update: "connectors/update",
    connectors.delete: "connectors/delete",
    configs.get: "config/get",
    controllers.create: "controllers/create",
    controllers.get: "controllers/get",
    controllers.update: "controllers/update",
    controllers.delete: "controllers/delete",
    model_groups.register: "register_model_group",
    model_groups.get: "model_groups/get",
    model_groups.search_groups: "model_groups/search",
    model_groups.update: "update_model_group",
    model_groups.delete: "model_groups/delete",
    profile.everything: "profile/nodes",
    profile.models: "profile/nodes",
    profile.tasks: "profile/nodes",
    stats.stats: "stats/nodes",
}
"""A handler that is not here is taken for one that only full access may use."""

UNKNOWN = "execute"
