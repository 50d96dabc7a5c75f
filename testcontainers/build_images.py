"""Build the images that docker-compose.yml and the container tests start:  python testcontainers/build_images.py

What pip needs behind a company proxy goes in as BuildKit secrets, never into a layer: the certificate bundle named by
PIP_CERT, REQUESTS_CA_BUNDLE or SSL_CERT_FILE, and the file named by PIP_CONFIG_FILE.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from container_cluster import IMAGE as OPENSEARCH_IMAGE
from container_cluster import build, build_opensearch, image_exists
from maven_artifacts import Unavailable

ROOT = Path(__file__).resolve().parent.parent
BRIDGE_IMAGE = os.environ.get("BRIDGE_IMAGE", "opensearch-ml-bridge/bridge:latest")
BASE_IMAGE = os.environ.get("BASE_IMAGE", "debian:bookworm-slim")


def pip_secrets() -> list[str]:
    """--secret options for what this machine's own pip uses."""
    options = []
    certificates = [os.environ.get(name, "") for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    for name, candidates in (("pip_ca", certificates), ("pip_conf", [os.environ.get("PIP_CONFIG_FILE", "")])):
        found = next((path for path in candidates if path and Path(path).is_file()), None)
        if found:
            options += ["--secret", f"id={name},src={found}"]
    return options


def build_bridge(image: str = BRIDGE_IMAGE, extras: str = "") -> None:
    """The bridge's image out of this checkout. Raises Unavailable with the end of docker's output."""
    arguments = ["--build-arg", f"EXTRAS={extras}", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}"]
    build(image, ROOT, *arguments, *pip_secrets())


def main() -> int:
    try:
        for image, make in ((OPENSEARCH_IMAGE, build_opensearch), (BRIDGE_IMAGE, build_bridge)):
            if image == OPENSEARCH_IMAGE and image_exists(image):
                print(f"{image}: there already")
                continue
            began = time.monotonic()
            make(image)
            print(f"{image}: built in {time.monotonic() - began:.0f} s", flush=True)
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
