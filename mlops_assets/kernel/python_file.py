"""What a Python file of the catalogue binds: the file is run once, under a name of its own."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import bytes_sha256

T = TypeVar("T")


class _FromSource(SourceFileLoader):
    """Compiles what the file says now: caches are told by size and second, so an edit may hide behind one."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def object_in(file: Path, variable: str, kind: type[T]) -> T:
    """Return what `file` binds to `variable`.

    Raises:
        InvalidDeclaration: if the file can't be run, or binds something else.
    """
    found = names_in(file).get(variable)
    if not isinstance(found, kind):
        raise InvalidDeclaration(
            file=file,
            field=variable,
            problem=f"it holds {type(found).__name__}, not a {kind.__name__}",
            remedy=f"Bind a {kind.__name__} to {variable} at the end of the file.",
        )
    return found


def names_in(file: Path) -> dict[str, Any]:
    """Run `file` and return its names.

    Raises:
        InvalidDeclaration: if it can't be run.
    """
    name = f"mlops_declaration_{file.stem}_{bytes_sha256(str(file).encode())[:12]}"
    spec = importlib.util.spec_from_file_location(name, file, loader=_FromSource(name, str(file)))
    if spec is None or spec.loader is None:
        raise InvalidDeclaration(file=file, field="(the file)", problem="Python can't load it", remedy="Name it *.py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        raise InvalidDeclaration(
            file=file,
            field="(the file)",
            problem=f"it stops with {type(error).__name__}: {error}",
            remedy="Run the file with Python to see where.",
        ) from error
    return vars(module)
