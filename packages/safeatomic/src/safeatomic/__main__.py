"""Run the command line as ``python -m safeatomic``."""

from safeatomic_core._cli import main

if __name__ == "__main__":
    raise SystemExit(main())
