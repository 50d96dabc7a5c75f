"""`bridge init`: make or upgrade the system indices."""

from __future__ import annotations

import asyncio

import click
from tqdm import tqdm

from bridge.app import cluster_config
from bridge.cli.options import CONNECTION, settings_options
from bridge.cli.serve import configure_logs
from bridge.errors import BridgeError
from bridge.settings import Settings
from bridge.store.cluster import Cluster
from bridge.store.indices import TEMPLATES, check_access, check_prefix, ensure, load_template
from bridge.store.stores import IndexNames


@click.command()
@settings_options(CONNECTION)
def init(settings: Settings) -> None:
    """Create the system indices, or bring them up to this version. Running it again changes nothing.

    `bridge serve` does the same at its start; this is for those who want the indices made beforehand, by an account
    with more rights than the bridge will have.
    """
    configure_logs(settings, "init")
    try:
        asyncio.run(_init(settings))
    except BridgeError as error:
        raise click.ClickException(error.reason) from error
    click.echo(f"{len(TEMPLATES)} indices {settings.index_prefix}* are in place at {settings.cluster}")


async def _init(settings: Settings) -> None:
    cluster = Cluster(cluster_config(settings))
    names = IndexNames(settings.index_prefix)
    try:
        check_prefix(await cluster.info(), names.prefix)
        for template in tqdm(TEMPLATES, desc="indices", unit="index", leave=False, disable=None):
            await ensure(cluster, names.of(template), load_template(template))
        await check_access(cluster, names)
    finally:
        await cluster.close()
