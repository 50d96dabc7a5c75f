"""Finding a JDK that a given OpenSearch can run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from maven_artifacts import Unavailable

SYSTEM_FOLDERS = (Path("/usr/lib/jvm"), Path("/opt/java"), Path("/Library/Java/JavaVirtualMachines"))


def find_java(oldest: int, newest: int | None = None) -> Path:
    """The home of a JDK with a major version in [oldest, newest]; the one chosen by the user first, else the newest.

    Raises Unavailable when there is none.
    """
    for variable in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME"):
        chosen = os.environ.get(variable)
        if chosen and _fits(_major(Path(chosen)), oldest, newest):
            return Path(chosen)
    found = {home: _major(home) for home in _installed()}
    fitting = [home for home, major in found.items() if _fits(major, oldest, newest)]
    if fitting:
        return max(fitting, key=lambda home: found[home])
    wanted = f"{oldest} or newer" if newest is None else f"{oldest} to {newest}"
    raise Unavailable(
        f"This OpenSearch needs a JDK {wanted} and none was found (looked at OPENSEARCH_JAVA_HOME, JAVA_HOME, "
        f"{', '.join(map(str, SYSTEM_FOLDERS))} and PATH). Install one (Debian: apt-get install "
        f"openjdk-{oldest}-jdk-headless, or Eclipse Temurin) or set OPENSEARCH_JAVA_HOME."
    )


def _fits(major: int, oldest: int, newest: int | None) -> bool:
    return major >= oldest and (newest is None or major <= newest)


def _installed() -> Iterator[Path]:
    for folder in SYSTEM_FOLDERS:
        for home in sorted(folder.glob("*")) if folder.is_dir() else []:
            bundle = home / "Contents" / "Home"
            yield (bundle if bundle.is_dir() else home).resolve()
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent


@cache
def _major(home: Path) -> int:
    """The JDK's major version, 0 when there is no usable one in that folder."""
    java = home / "bin" / "java"
    if not java.is_file():
        return 0
    release = home / "release"
    text = release.read_text(errors="replace") if release.is_file() else ""
    match = re.search(r'JAVA_VERSION="(\d+)', text)
    if match is None:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
        match = re.search(r'version "(\d+)', told)
    return int(match.group(1)) if match else 0
