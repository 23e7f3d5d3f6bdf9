"""How a dossier's first page looks: one HTML file that needs nothing else, the same bytes from the same index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from mlops_assets.dossier.words import word
from mlops_assets.kernel.words import Locale

TEMPLATE = Path(__file__).with_name("index.html")
_SHOWN = 12


def render(index: bytes, *, key_id: str, locale: Locale) -> bytes:
    """Write the page from `index.json`; every value in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": _short, "minute": _minute, "link": _link, "number": _number}
    said: Mapping[str, Any] = json.loads(index)
    page = environment.get_template(TEMPLATE.name).render(
        **said,
        locale=locale,
        say=partial(word, locale=locale),
        stages=[(stage, list(lines)) for stage, lines in groupby(said["lineage"], key=lambda line: line["stage"])],
        key_id=key_id,
    )
    return page.encode()


def _short(fingerprint: str | None) -> str:
    return "–" if fingerprint is None else fingerprint[:_SHOWN]


def _minute(instant: str | None) -> str:
    """Write an instant of ISO 8601 to the second; its zone is said once."""
    return "–" if instant is None else instant[:19].replace("T", " ")


def _link(path: str) -> str:
    """Write a path of the archive as a relative link; never a scheme, whatever it is called."""
    return f"./{quote(path, safe='/@.-_')}"


def _number(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
