"""What does a declaration's YAML say: read with the safe loader, refusing what people did not mean.

Refused: more than 256 KB, duplicate keys, anchors and aliases (they can grow without bound), values that JSON has not.
"""

# The parser's methods carry no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import cast

import rfc8785
import yaml

from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import Json, canonical_json

MAXIMUM_BYTES = 256 * 1024


class _DuplicateKey(yaml.MarkedYAMLError):
    pass


class _StrictLoader(yaml.SafeLoader):
    """The safe loader without aliases and without silent overwriting; a date stays the text it is written as."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class variable
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = cast("object", self.construct_object(key_node, deep=True))
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not text", problem_mark=key_node.start_mark)
            if key in seen:
                raise _DuplicateKey(problem=f"key {key!r} appears twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_file(file: Path, *, remedy: str) -> Mapping[str, Json]:
    """Return the mapping that a file holds; `remedy` says what to do where it can't be read at all.

    Raises:
        InvalidDeclaration: if it can't be read, or for what `read_mapping` refuses.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(file, f"it can't be read: {error}", remedy) from error
    return read_mapping(text, file)


def read_mapping(text: str, file: Path) -> Mapping[str, Json]:
    """Return the mapping that `text` holds.

    Raises:
        InvalidDeclaration: if it is too large, not YAML, ambiguous, or not a mapping of JSON values.
    """
    if len(text.encode()) > MAXIMUM_BYTES:
        raise _refusal(file, f"it has more than {MAXIMUM_BYTES} bytes", "Shorten it.")
    try:
        # _StrictLoader only narrows SafeLoader.
        found = cast("object", yaml.load(text, Loader=_StrictLoader))  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise _refusal(
            file, f"{line}{error.problem}", "Mend the YAML; each key stands once, without aliases."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise _refusal(file, str(error), "Mend the YAML; it must be plain UTF-8 text.") from error
    except RecursionError as error:
        raise _refusal(file, "it is nested too deeply", "Flatten it.") from error
    if not isinstance(found, dict):
        raise _refusal(file, f"it holds a {type(found).__name__}, not a mapping", "Write `key: value` lines.")
    mapping = cast("dict[str, Json]", found)
    try:
        canonical_json(mapping)
    except (rfc8785.CanonicalizationError, TypeError, RecursionError) as error:
        raise _refusal(
            file, f"a value is not JSON: {error}", "Use text, finite numbers, lists and mappings."
        ) from error
    return mapping


def _refusal(file: Path, problem: str, remedy: str) -> InvalidDeclaration:
    return InvalidDeclaration(file=file, field="(file)", problem=problem, remedy=remedy)
