"""How a report looks: one HTML file that needs nothing else, the same bytes from the same record."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2

from mlops_assets.evaluation import plots
from mlops_assets.evaluation.plots import DARK, LIGHT, Canvas
from mlops_assets.evaluation.report import TEMPLATE, Contender, Explained, kpis_of
from mlops_assets.evaluation.spec import Scenario
from mlops_assets.kernel.fingerprint import bytes_sha256, canonical_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150
_NARROW = {"width": 4.1, "height": 3.6}
_DASH = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One plot as data URIs: light and dark, wide and for a phone."""

    alt: str
    light: str
    dark: str
    narrow_light: str
    narrow_dark: str


def render(
    record: Mapping[str, Any], scenario: Scenario, contenders: Sequence[Contender], explained: Sequence[Explained]
) -> bytes:
    """Write the report's page from its record and the curves behind it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"measure": measure, "short": _short, "usd": _usd, "words": _words}
    page = environment.get_template(TEMPLATE.name).render(
        record=record,
        sha256=bytes_sha256(canonical_json(record)),
        pictures=_pictures(scenario, contenders, explained),
        swatches=_swatches(scenario),
        kpis=kpis_of(record),
        inputs=_grouped(record["inputs"]),
    )
    return page.encode()


def measure(value: float | None, unit: str) -> str:
    """Write a number in its unit for people; an undefined one is a dash."""
    if value is None:
        return _DASH
    if unit == "fraction":
        return f"{_signed(value * 100, 2)} %"
    return _signed(value, 0 if unit in ("count", "days") else 2)


def _usd(value: float | None) -> str:
    return _DASH if value is None else _signed(value, 0)


def _signed(value: float, decimals: int) -> str:
    """Write a number with a true minus sign, and without one where it rounds to zero."""
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def _short(fingerprint: str) -> str:
    return fingerprint[:12]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _swatches(scenario: Scenario) -> list[tuple[str, str, str]]:
    """Return name, light and dark colour of every strategy."""
    light = plots.colours(scenario.baselines, scenario.candidates, LIGHT)
    dark = plots.colours(scenario.baselines, scenario.candidates, DARK)
    return [(name, light[name], dark[name]) for name in scenario.replayed]


def _pictures(
    scenario: Scenario, contenders: Sequence[Contender], explained: Sequence[Explained]
) -> dict[str, Picture]:
    results = {one.name: one.result for one in contenders}
    events = scenario.stress_events

    def coloured(canvas: Canvas) -> dict[str, str]:
        return plots.colours(scenario.baselines, scenario.candidates, canvas.theme)

    pictures = {
        "equity": _picture(
            "Equity of each strategy by day",
            lambda canvas: plots.equity_curves(results, coloured(canvas), events, canvas),
        ),
        "drawdown": _picture(
            "Fall of each strategy below its running peak by day",
            lambda canvas: plots.drawdown_curves(results, coloured(canvas), events, canvas),
        ),
        "fills": _picture(
            "Fills of each strategy by month", lambda canvas: plots.fills_by_month(results, coloured(canvas), canvas)
        ),
    }
    for one in explained:
        pictures[f"importance/{one.model}"] = _picture(
            f"Mean absolute SHAP value of each feature of {one.model}",
            lambda canvas, one=one: plots.importance_bars(one.window, canvas),
        )
    return pictures


def _picture(alt: str, draw: Callable[[Canvas], Figure]) -> Picture:
    return Picture(
        alt=alt,
        light=_data_uri(draw(Canvas(theme=LIGHT))),
        dark=_data_uri(draw(Canvas(theme=DARK))),
        narrow_light=_data_uri(draw(Canvas(theme=LIGHT, **_NARROW))),
        narrow_dark=_data_uri(draw(Canvas(theme=DARK, **_NARROW))),
    )


def _data_uri(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _grouped(inputs: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Sort the inputs into what a reader looks for: data, models, declarations, results and code."""
    titles = {
        "Data": ("market", "features", "datasets", "predictions", "explanations"),
        "Models": ("models",),
        "Declarations": ("scenarios", "strategies"),
        "Results": ("evaluation",),
        "Code": ("code",),
    }
    return {
        title: [(name, value) for name, value in sorted(inputs.items()) if name.split("/")[0] in roots]
        for title, roots in titles.items()
    }
