"""Run the command line as ``python -m safeatomic_core``."""

from ._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
