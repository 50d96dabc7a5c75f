"""Rules of the house that no linter knows: what tracked files may hold, how large they grow, who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from server_fixtures import missing

ROOT = Path(__file__).resolve().parent.parent.parent
LONGEST_FILE = 500
LONGEST_FUNCTION = 40
# Spelled in pieces, so that this file does not hold what it looks for.
HOSTS = re.compile(
    "|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", r"repo1?\." + "maven", r"maven\." + "org/maven2"])
)
HOMES = re.compile("(?<![\\w.])(/" + "root/|/" + "home/[a-z]+/|/Us" + "ers/[a-z]+/|/w" + "ork/|/f" + "arm/)")
# Inside an image the path is the image's, not a machine's.
HOMES_ALLOWED = {"Dockerfile": "/" + "root/.cache/pip"}
UNFINISHED = re.compile(r"\b(TO" + "DO|FIX" + "ME|X" + r"XX)\b|raise NotImplemented" + "Error")
# torch: docs/decisions/0011; boto3: downloading models and signing the bridge's own requests are layers apart.
OWNERS = {
    "torch": {"bridge/engines/torchscript.py", "bridge/engines/safetensors.py", "bridge/engines/export.py"},
    "onnxruntime": {"bridge/engines/onnx.py"},
    "boto3": {"bridge/models/s3.py", "bridge/store/aws.py"},
}
VAGUE = {"utils", "helpers", "common", "manager"}


def tracked() -> list[Path]:
    told = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    if told.returncode:
        missing("not a git checkout")
    return [ROOT / name for name in told.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found.append((path.relative_to(ROOT), raw.decode(errors="replace")))
    return found


def sources() -> list[tuple[Path, str]]:
    return [(path, text) for path, text in texts() if path.suffix == ".py"]


def test_the_folder_testcontainers_does_not_shadow_the_package() -> None:
    assert not (ROOT / "testcontainers" / "__init__.py").exists()
    told = subprocess.run(
        [sys.executable, "-c", "import testcontainers.core; print(testcontainers.core.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert ROOT / "testcontainers" not in Path(told.stdout.strip()).parents


def test_files_stay_small() -> None:
    long = {str(path): text.count("\n") for path, text in sources() if text.count("\n") > LONGEST_FILE}
    assert not long


def test_functions_stay_short() -> None:
    long = []
    for path, text in sources():
        if path.parts[0] != "bridge":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION + _docstring_lines(node):
                    long.append(f"{path}:{node.lineno} {node.name} has {lines} lines")
    assert not long


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len((ast.get_docstring(node, clean=False) or "").splitlines())


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert not [str(path) for path, _ in sources() if VAGUE & {part.removesuffix(".py") for part in path.parts}]


def test_lock_files_hold_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "index-url" not in text
        assert "onnxruntime==" in text
    assert "\ntorch==" not in (ROOT / "requirements.lock").read_text()
    assert "\ntorch==" in (ROOT / "requirements-test.lock").read_text()


def test_no_machine_and_no_registry_is_named() -> None:
    found = []
    for path, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            allowed = HOMES_ALLOWED.get(str(path))
            shown = line.replace(allowed, "") if allowed else line
            if HOSTS.search(shown) or HOMES.search(shown):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert not found


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in sources()
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_layers_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def test_heavy_libraries_are_imported_by_their_owners_only() -> None:
    strangers = [
        f"{path} imports {name}"
        for path, text in sources()
        if path.parts[0] == "bridge"
        for name in OWNERS.keys() & set(_imported(text))
        if str(path) not in OWNERS[name]
    ]
    assert not strangers


def _imported(text: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module.partition(".")[0])
    return names


def test_importing_the_bridge_loads_no_model_library() -> None:
    code = "import sys, bridge.cli; print(sorted({'torch', 'onnxruntime', 'boto3', 'transformers'} & set(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.stdout.strip() == "[]", told.stdout + told.stderr


def test_index_templates_are_in_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '"index_templates" = "bridge/index_templates"' in text
