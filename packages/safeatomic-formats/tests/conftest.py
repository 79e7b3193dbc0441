"""Settings shared by the tests of the formats."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadlines: machines are shared. The same examples at each run of CI, others elsewhere.
settings.register_profile("safeatomic", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("safeatomic")
