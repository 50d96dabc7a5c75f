"""An unpacked OpenSearch with its plugins installed, kept in the cache and shared read-only by all nodes."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cache_folder import appearing, cache_folder, exclusive
from cluster_variants import LIBTORCH, LIBTORCH_JNI, LIBTORCH_VERSION, Variant
from java_homes import find_java
from maven_artifacts import Artifact, Unavailable, fetch

DEMO_TOOL = Path("plugins/opensearch-security/tools/install_demo_configuration.sh")


@dataclass(frozen=True)
class Home:
    """Paths of a prepared OpenSearch; `password` of the demo user admin, empty without the security plugin."""

    folder: Path
    java: Path
    password: str
    libtorch: Path | None


def prepare(variant: Variant) -> Home:
    """Unpack and set up the variant, or find it done. Raises Unavailable when a part cannot be had."""
    java = find_java(variant.oldest_java, variant.newest_java)
    top = cache_folder() / "homes" / variant.home_key
    if not top.is_dir():
        with exclusive(f"home-{variant.home_key}"):
            if not top.is_dir():
                _make(variant, java, top)
    password = top / "password"
    libtorch = top / "libtorch"
    return Home(
        folder=top / f"opensearch-{variant.version}",
        java=java,
        password=password.read_text().strip() if password.is_file() else "",
        libtorch=libtorch if libtorch.is_dir() else None,
    )


def _make(variant: Variant, java: Path, top: Path) -> None:
    with appearing(top) as growing:
        unpack(fetch(variant.distribution), growing)
        home = growing / f"opensearch-{variant.version}"
        for artifact in variant.plugin_artifacts:
            _install_plugin(home, java, artifact)
        if variant.local_models:
            _place_libtorch(growing / "libtorch")
        if variant.secured:
            password = _install_demo_security(home, java)
            (growing / "password").write_text(password)
        # Nodes of an unprivileged user read what root unpacked.
        subprocess.run(["chmod", "-R", "a+rX", str(growing)], check=True)
        growing.parent.chmod(0o755)


def unpack(archive: Path, folder: Path) -> None:
    """Unzip with the permission bits kept; zipfile alone drops them and leaves no script executable."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            path = Path(packed.extract(entry, folder))
            mode = (entry.external_attr >> 16) & 0o777
            if mode and not entry.is_dir():
                path.chmod(mode)


def _install_plugin(home: Path, java: Path, artifact: Artifact) -> None:
    command = [str(home / "bin" / "opensearch-plugin"), "install", "--batch", fetch(artifact).as_uri()]
    _run(command, home, java, f"installing {artifact}")


def _place_libtorch(folder: Path) -> None:
    """The native libraries that the reference would otherwise download at its first local deployment."""
    folder.mkdir()
    with zipfile.ZipFile(fetch(LIBTORCH)) as jar:
        for entry in jar.infolist():
            if entry.filename.startswith("pytorch/cpu/linux-x86_64/") and not entry.is_dir():
                name = Path(entry.filename).name
                with jar.open(entry) as packed:
                    source = gzip.GzipFile(fileobj=packed) if name.endswith(".gz") else packed
                    with (folder / name.removesuffix(".gz")).open("wb") as out:
                        shutil.copyfileobj(source, out)
    with zipfile.ZipFile(fetch(LIBTORCH_JNI)) as jar:
        (folder / "0.31.1-libdjl_torch.so").write_bytes(jar.read("jnilib/linux-x86_64/cpu/libdjl_torch.so"))


def libtorch_folder(data: Path) -> Path:
    """Where a node with the given path.data looks for those libraries."""
    return data / "ml_cache" / "pytorch" / f"{LIBTORCH_VERSION}-cpu-precxx11-linux-x86_64"


def _install_demo_security(home: Path, java: Path) -> str:
    """Demo certificates and users, as the plugin's own script writes them; gives admin's password."""
    password = f"Aa1!{secrets.token_hex(12)}"
    for script in (home / DEMO_TOOL).parent.glob("*.sh"):
        script.chmod(0o755)
    command = ["bash", str(home / DEMO_TOOL), "-y", "-i", "-s", "-t"]
    _run(command, home, java, "the security plugin's demo configuration", OPENSEARCH_INITIAL_ADMIN_PASSWORD=password)
    return password


def _run(command: list[str], home: Path, java: Path, doing: str, **extra: str) -> None:
    environment = {**os.environ, "OPENSEARCH_JAVA_HOME": str(java), "JAVA_HOME": str(java), **extra}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-10:])
        raise Unavailable(f"{doing} failed:\n{tail}")
