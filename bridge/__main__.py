"""`python -m bridge`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from bridge.cli import cli

    cli(prog_name="bridge")


if __name__ == "__main__":
    main()
