"""Metergate: continuous verification for networked measuring instruments."""

import os

__version__ = "0.1.0"

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""Before numpy is loaded: a run length solves a thousand systems of a hundred unknowns; with a thread a core each takes
ten times as long as with one."""
