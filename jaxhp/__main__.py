"""`python -m jaxhp` and the `jaxhp` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line, or says in one line what it lacks."""
    from jaxhp.errors import MissingExtra

    try:
        from jaxhp.cli import app
    except MissingExtra as e:
        print(f"error: {e}", file=sys.stderr)
        raise SystemExit(2) from None
    app(prog_name="jaxhp")


if __name__ == "__main__":
    main()
