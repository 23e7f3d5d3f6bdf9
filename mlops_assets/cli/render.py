"""How an answer is shown: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Protocol

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

_WIDTH_OF_A_FILE = 180
_WIDEST_NAME = 32


class Branching(Protocol):
    """A place in a tree and what lies beyond it."""

    @property
    def name(self) -> str: ...

    @property
    def branches(self) -> Sequence[Branching]: ...

    @property
    def is_repeated(self) -> bool: ...


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]


def show_rows(
    title: str,
    rows: Sequence[Mapping[str, object]],
    *,
    as_json: bool,
    empty: str = "none",
    only_json: Collection[str] = (),
) -> None:
    """Print records of the same fields; those of `only_json` are too long for a table."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        _console().print(f"{title}: {empty}")
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    shown = [name for name in rows[0] if name not in only_json]
    for name in shown:
        # On a narrow terminal the words fold, and the name that each row is about stays whole.
        widest = max(len(_cell(row[name])) for row in rows) if name == shown[0] else 0
        table.add_column(name, overflow="fold", no_wrap=0 < widest <= _WIDEST_NAME)
    for row in rows:
        table.add_row(*(Text(_cell(row[name])) for name in shown))
    _console().print(table)


def show_record(title: str, record: Mapping[str, object], *, as_json: bool) -> None:
    """Print one record, a field a line."""
    if as_json:
        print_json(record)
        return
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in record.items():
        table.add_row(name, Text(_cell(value)))
    _console().print(table)


def show_tree(title: str, branches: Sequence[Branching], *, empty: str) -> None:
    """Print a tree; what was told above is not told again."""
    tree = Tree(Text(title, style="bold"))
    _grow(tree, branches)
    if not branches:
        tree.add(Text(empty))
    _console().print(tree)


def print_json(value: object) -> None:
    """Print a value of ours as JSON: dataclasses as objects, instants in ISO 8601, undefined numbers as null."""
    plain = to_jsonable_python(value, inf_nan_mode="null", fallback=str)
    sys.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def _console() -> Console:
    """Return the console; where the output is no terminal, lines need not be short."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_A_FILE)


def _grow(tree: Tree, branches: Sequence[Branching]) -> None:
    for branch in branches:
        _grow(tree.add(Text(f"{branch.name} …" if branch.is_repeated else branch.name)), branch.branches)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, str | int):
        return str(value)
    plain = to_jsonable_python(value, inf_nan_mode="null", fallback=str)
    if isinstance(plain, str):
        return plain
    if isinstance(plain, list) and all(isinstance(item, str | int | float) for item in plain):
        return (", " if all(" " not in str(item) for item in plain) else "; ").join(map(str, plain))
    if isinstance(plain, dict) and all(isinstance(item, str | int | float | list) for item in plain.values()):
        return "; ".join(f"{name}: {_cell(item)}" for name, item in plain.items())
    return json.dumps(plain, ensure_ascii=False)
