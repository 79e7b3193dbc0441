"""Put a copy of the core into another package, as a vendoring tool does.

``python tests-integration/vendoring.py SRC [SITE]`` copies ``SRC/safeatomic_core`` to
``SITE/host/_vendor/safeatomic_core`` (SITE is this interpreter's site-packages if left out) and
adds one module named ``safeatomic_core`` that stands for the copy, so that the core's own tests,
which import that name, run on it unchanged. What they then test was imported, and calls itself,
``host._vendor.safeatomic_core``.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

# Names of the alias resolve to the copy's own modules, one at a time as they are imported.
ALIAS = '''\
"""Stands for the copy of safeatomic_core in host._vendor: the same modules, not another copy."""

import importlib
import importlib.abc
import importlib.util
import sys

REAL = "host._vendor.safeatomic_core"
NAME = "safeatomic_core"

if __name__ == "__main__":
    import runpy

    runpy.run_module(REAL, run_name="__main__", alter_sys=True)
else:

    class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, fullname, path=None, target=None):
            if fullname.startswith(NAME + "."):
                return importlib.util.spec_from_loader(fullname, self)

        def create_module(self, spec):
            module = importlib.import_module(REAL + spec.name.removeprefix(NAME))
            self.own = module.__spec__
            return module

        def exec_module(self, module):
            module.__spec__ = self.own

    before = set(sys.modules)
    module = importlib.import_module(REAL)
    assert [name for name in sys.modules if name.startswith(NAME + ".")] == []
    sys.meta_path.insert(0, Alias())
    sys.modules[NAME] = module
'''


def vendor(source: Path, site: Path) -> Path:
    """Copy the package below ``source`` to ``site/host/_vendor``; return the copy's folder."""
    copy = site / "host" / "_vendor" / "safeatomic_core"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source / "safeatomic_core", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for package in (copy.parent, copy.parent.parent):
        (package / "__init__.py").touch()
    return copy


if __name__ == "__main__":
    site = Path(sys.argv[2] if len(sys.argv) > 2 else sysconfig.get_path("purelib"))
    print(vendor(Path(sys.argv[1]), site))
    (site / "safeatomic_core.py").write_text(ALIAS, encoding="utf-8")
