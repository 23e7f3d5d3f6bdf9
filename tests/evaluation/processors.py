"""Runs Python in processes that add and take logarithms as on other processors, to compare what they print."""

from __future__ import annotations

import os
import subprocess
import sys

PROCESSORS = (
    {},
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V4"},
    {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"},
    {"OPENBLAS_CORETYPE": "Haswell"},
    {"OPENBLAS_CORETYPE": "SkylakeX"},
)
"""Environments; numpy and OpenBLAS ignore what the processor at hand does not have."""


def printed_on_each(program: str) -> set[str]:
    """Return everything that `program` printed, once if every processor gives the same."""
    return {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, **processor},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for processor in PROCESSORS
    }
