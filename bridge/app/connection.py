"""How the settings say the cluster is reached."""

from __future__ import annotations

from bridge.settings import Settings
from bridge.store.cluster import ClusterConfig


def cluster_config(settings: Settings, *, own: bool = True) -> ClusterConfig:
    """How to reach the cluster; with `own` False without the bridge's credentials, for what callers ask."""
    place = ClusterConfig(urls=settings.cluster_urls, ca=settings.ca or None, verify=settings.verify)
    if not own:
        return place
    return ClusterConfig(
        urls=settings.cluster_urls,
        user=settings.user or None,
        password=settings.password or None,
        token=settings.bearer_token or None,
        client_cert=settings.client_cert or None,
        client_key=settings.client_key or None,
        ca=settings.ca or None,
        verify=settings.verify,
        aws_region=settings.aws_region or None,
        aws_service=settings.aws_service,
    )
