"""What `bridge serve` refuses before it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.settings import Settings


def test_a_data_folder_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (Path("/proc/x"), tmp_path / "file", tmp_path / "file" / "below"):
        command = "from bridge.cli import cli; cli()"
        words = [sys.executable, "-c", command, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"Error: cannot use the data folder {folder}: ")
        assert (done.stderr.count("\n"), "--data-dir" in done.stderr) == (1, True)


@pytest.mark.parametrize("prefix", [".plugins-ml-", "bridge-", ".a", "a+b=c~", "0_", "..x"])
def test_prefixes_of_indices(prefix: str) -> None:
    assert Settings(index_prefix=prefix).index_prefix == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "BAD PREFIX",
        "Upper",
        "a b",
        "a\tb",
        "a\nb",
        "_a",
        "-a",
        "+a",
        "ü",
        "a%2fb",
        "a" * 201,
        *(f"a{c}b" for c in '\\/*?"<>|,#:'),
    ],
)
def test_what_cannot_begin_an_indexs_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="--index-prefix takes lower-case letters"):
        Settings(index_prefix=prefix)
