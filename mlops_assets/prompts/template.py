"""What may a prompt's body contain: text, declared variables and plain conditions, nothing that calls or loops.

Values are never parsed again: the body is the only template, rendered once.
"""

# Jinja's environment is partly untyped.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Mapping

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAXIMUM_RENDERED_CHARACTERS = 200_000

# Enough for `{{ language }}` and `{% if language == "ko" %}`: no attribute, call, filter, loop, macro or include.
_ALLOWED: frozenset[type[nodes.Node]] = frozenset(
    {
        nodes.Template,
        nodes.Output,
        nodes.TemplateData,
        nodes.Name,
        nodes.Const,
        nodes.If,
        nodes.Compare,
        nodes.Operand,
        nodes.And,
        nodes.Or,
        nodes.Not,
    }
)


def variables_of(source: str) -> frozenset[str]:
    """Return the names of the variables that a template reads.

    Raises:
        ValueError: if the template is broken or does more than read variables and compare them.
    """
    try:
        tree = _environment().parse(source)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    for node in _walk(tree):
        if type(node) not in _ALLOWED:
            raise ValueError(f"line {node.lineno}: {type(node).__name__} is not allowed in a prompt")
    return frozenset(node.name for node in tree.find_all(nodes.Name))


def fill(source: str, values: Mapping[str, str]) -> str:
    """Return the template with its variables filled, in one pass.

    Raises:
        ValueError: if the result would be longer than the limit.
        jinja2.UndefinedError: if a variable has no value.
    """
    pieces: list[str] = []
    length = 0
    for piece in _environment().from_string(source).generate(dict(values)):
        length += len(piece)
        if length > MAXIMUM_RENDERED_CHARACTERS:
            raise ValueError(f"it renders to more than {MAXIMUM_RENDERED_CHARACTERS} characters")
        pieces.append(piece)
    return "".join(pieces)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,  # the output is a prompt, not HTML; untrusted values are encoded by render.py
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.clear()
    return environment


def _walk(node: nodes.Node) -> list[nodes.Node]:
    found, pending = [node], [node]
    while pending:
        children = list(pending.pop().iter_child_nodes())
        found.extend(children)
        pending.extend(children)
    return found
