"""Artifacts published on Maven Central, fetched through the user's own `mvn`.

Maven's settings decide which host answers (a mirror, a company proxy, or nothing at all when the artifact is in the
local repository already); this module never names one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cache_folder import exclusive

FETCH_TIMEOUT_SECONDS = 900


class Unavailable(RuntimeError):
    """Something this machine lacks (a tool, an artifact, a server); the text says what to do about it."""


@dataclass(frozen=True)
class Artifact:
    """Coordinates of one file in a Maven repository."""

    group: str
    name: str
    version: str
    packaging: str = "zip"
    classifier: str = ""

    def __str__(self) -> str:
        parts = [self.group, self.name, self.version, self.packaging]
        return ":".join([*parts, self.classifier] if self.classifier else parts)

    def path_in(self, repository: Path) -> Path:
        suffix = f"-{self.classifier}" if self.classifier else ""
        folder = repository.joinpath(*self.group.split("."), self.name, self.version)
        return folder / f"{self.name}-{self.version}{suffix}.{self.packaging}"


def repository() -> Path:
    """The local Maven repository: MAVEN_REPO when set, else the one Maven uses by itself."""
    chosen = os.environ.get("MAVEN_REPO")
    return Path(chosen) if chosen else Path.home() / ".m2" / "repository"


def fetch(artifact: Artifact) -> Path:
    """The artifact's path on this machine, downloaded first when it is not there yet.

    Raises Unavailable when Maven is missing or cannot deliver it.
    """
    path = artifact.path_in(repository())
    if path.is_file():
        return path
    # Two Mavens writing one artifact into one repository leave it truncated.
    with exclusive("maven"):
        if not path.is_file():
            _download(artifact)
    if not path.is_file():
        raise Unavailable(f"Maven reported success, but {artifact} is not in {repository()}")
    return path


def _download(artifact: Artifact) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(
            f"{artifact} has to be downloaded and `mvn` is not installed. Install Maven (Debian: apt-get install "
            "maven; macOS: brew install maven), or set OPENSEARCH_URL to a cluster that is already running."
        )
    command = [maven, "-q", "-B", "dependency:get", "-Dtransitive=false", f"-Dartifact={artifact}"]
    if os.environ.get("MAVEN_REPO"):
        command.append(f"-Dmaven.repo.local={repository()}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_SECONDS, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise Unavailable(f"Maven could not fetch {artifact}:\n{tail}")
