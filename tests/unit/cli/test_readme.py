"""The README's option table is made from the settings table; BRIDGE_WRITE_README=1 writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from bridge import settings as table

README = Path(__file__).resolve().parents[3] / "README.md"
START, END = "<!-- options: made by tests/unit/cli/test_readme.py -->\n", "<!-- end of options -->"


def made() -> str:
    lines = ["| option | default | |", "|---|---|---|"]
    for option in table.option_fields():
        name = option.name.replace("_", "-")
        default = table.default_of(option)
        flag = f"--{name}/--no-{name}" if isinstance(default, bool) else f"--{name}"
        shown = f"`{str(default).replace('|', chr(92) + '|')}`" if default != "" else ""
        lines.append(f"| `{flag}` | {shown} | {option.metadata['help']} |")
    return "\n".join(lines) + "\n"


def test_the_readme_lists_every_option() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(START)
    if os.environ.get("BRIDGE_WRITE_README"):
        README.write_text(before + START + made() + END + rest.split(END)[1], encoding="utf-8")
        text = README.read_text(encoding="utf-8")
    assert text.split(START)[1].split(END)[0] == made()
