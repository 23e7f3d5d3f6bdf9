"""Which code and libraries were there when a dossier was made, and which versions the stores recorded earlier."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlops_assets.dossier.trace import Traced
from mlops_assets.kernel.fingerprint import Json, file_sha256, fingerprint

LIBRARIES = (
    *("cryptography", "dagster", "duckdb", "jinja2", "lightgbm", "mlflow", "numpy", "polars", "pyarrow", "pydantic"),
    *("rfc8785", "scikit-learn", "shap", "sqlalchemy"),
)
"""Those that compute, store or seal what a dossier speaks of."""

_PACKAGE = Path(__file__).resolve().parents[1]
_DECLARATIONS = _PACKAGE / "catalog"


def code_of(traced: Traced) -> dict[str, Json]:
    """Return the fingerprint of the installed source, its files' hashes, and every recorded code version."""
    source: dict[str, Json] = {
        str(file.relative_to(_PACKAGE)): file_sha256(file)
        for file in sorted(_PACKAGE.rglob("*.py"))
        if _DECLARATIONS not in file.parents
    }
    recorded = {one.id: one.row.get("code_version") for one in traced.things.values()}
    return {
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "source_fingerprint": fingerprint(source),
        "source": source,
        "recorded_code_versions": {name: str(value) for name, value in sorted(recorded.items()) if value is not None},
        "recorded_libraries": {
            one.id: str(one.row["metadata"]["library"])
            for one in traced.things.values()
            if "library" in one.row.get("metadata", {})
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
