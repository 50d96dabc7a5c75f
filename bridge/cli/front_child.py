"""A front-door process."""

from __future__ import annotations

import json

from bridge.cli.child import orders
from bridge.cli.serve import configure_logs
from bridge.proxy.front.config import FrontConfig, Limits, Timeouts, Tls
from bridge.proxy.front.process import run
from bridge.settings import Settings


def front_config(settings: Settings, run_dir: str) -> FrontConfig:
    """What a front needs to know.

    The bridge's own client certificate is not among it: with it, every caller would act with the bridge's rights.
    """
    return FrontConfig(
        upstreams=settings.cluster_urls,
        application=f"{run_dir}/app.sock",
        run_dir=run_dir,
        upstream_tls=Tls(authority=settings.ca or None, verify=settings.verify),
        server_tls=Tls(certificate=settings.tls_cert, key=settings.tls_key) if settings.tls_cert else None,
        limits=Limits(body=settings.max_body, connections=settings.max_connections),
        timeouts=Timeouts(
            head=settings.header_timeout,
            body=settings.body_timeout,
            keep_alive=settings.keepalive,
            grace=settings.grace,
            drain_delay=0.1,
            **({"response": settings.upstream_timeout} if settings.upstream_timeout else {}),
        ),
        trust_forwarded=settings.trust_forwarded,
    )


def main() -> None:
    """Run until SIGTERM."""
    order = json.loads(orders())
    settings = Settings.from_json(order["settings"])
    configure_logs(settings, "front")
    run(front_config(settings, order["run_dir"]), [order["door"]])


if __name__ == "__main__":
    main()
