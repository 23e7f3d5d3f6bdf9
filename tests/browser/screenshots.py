"""Pictures of a running platform for the documentation: `python -m tests.browser.screenshots --help`.

It only looks. It needs Chromium and its driver, and waits until a page shows what the picture is about.
"""

from __future__ import annotations

import argparse
import base64
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from mlops_assets.launch.dagster_ui import DagsterUi
from mlops_assets.launch.probe import newest_report

LARGEST_FILE_BYTES = 400_000
CODE_LOCATION = "mlops_assets"
TIMEOUT_SECONDS = 60
SETTLED_SECONDS = 3.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# The box around everything drawn in the graph, in CSS pixels of the page.
BOX_OF_THE_GRAPH = """
const boxes = [...document.querySelectorAll('svg foreignObject')].map(one => one.getBoundingClientRect());
return [Math.min(...boxes.map(b => b.left)), Math.min(...boxes.map(b => b.top)),
        Math.max(...boxes.map(b => b.right)), Math.max(...boxes.map(b => b.bottom))];
"""


# What a reader of the documentation has no use for: the graph's buttons, and where the platform was installed.
TIDY = """
const style = document.createElement('style');
style.textContent = '[class*="SVGViewport_iconButton"], [class*="SVGViewport_zoom"] { visibility: hidden; }';
document.head.append(style);
for (const button of document.querySelectorAll('[class*="SVGViewport_iconButton"]')) {
  button.parentElement.style.visibility = 'hidden';
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(arguments[0], '.mlops');
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of a page, in CSS pixels."""

    left: float
    top: float
    right: float
    bottom: float


class Browser:
    """One headless Chromium with a fresh profile."""

    def __init__(self, driver: webdriver.Chrome, out: Path, home: Path) -> None:
        self._driver, self._out, self._home = driver, out, home

    def open(self, url: str, *, until: str, width: int, height: int, sharpness: float = 1.0) -> None:
        """Show a page and wait until it says `until`."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": sharpness, "mobile": False},
        )
        self._driver.get(url)
        WebDriverWait(self._driver, TIMEOUT_SECONDS).until(
            lambda driver: until in driver.execute_script("return document.body ? document.body.innerText : ''"),
            f"{url} never showed {until!r}",
        )
        time.sleep(SETTLED_SECONDS)

    def click(self, text: str) -> None:
        """Click on the first thing that says exactly this, and wait for what opens."""
        self._driver.find_element("xpath", f"//*[text()='{text}']").click()
        time.sleep(SETTLED_SECONDS)

    def remember(self, key: str, value: str) -> None:
        """Store a preference of the UI in this origin."""
        self._driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", key, value)

    def sign_in(self, token: str) -> None:
        """Send the API's token with every request from now on."""
        self._command("Network.enable", {})
        self._command("Network.setExtraHTTPHeaders", {"headers": {"Authorization": f"Bearer {token}"}})

    def box_of_the_graph(self, margin: float = 24) -> Box:
        left, top, right, bottom = self._driver.execute_script(BOX_OF_THE_GRAPH)
        return Box(left=left - margin, top=top - margin, right=right + margin, bottom=bottom + margin)

    def shoot(self, name: str, box: Box | None = None) -> None:
        """Write `<name>.png`, with at most 256 colours, which such pages are content with."""
        clip: dict[str, Any] = {}
        if box is not None:
            width, height = box.right - box.left, box.bottom - box.top
            clip = {"clip": {"x": box.left, "y": box.top, "width": width, "height": height, "scale": 1}}
        self._driver.execute_script(TIDY, str(self._home.resolve()))
        shot = self._command("Page.captureScreenshot", {"format": "png", **clip})
        picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
        file = self._out / f"{name}.png"
        picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        size = file.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise SystemExit(f"{file} has {size:,} bytes; at most {LARGEST_FILE_BYTES:,} fit the documentation")
        print(f"{file}: {picture.width} x {picture.height}, {size:,} bytes")  # noqa: T201

    def _command(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._driver.execute_cdp_cmd(name, arguments)


@contextmanager
def open_browser(out: Path, *, home: Path, chromium: str, driver: str) -> Iterator[Browser]:
    """Start Chromium and end it."""
    with TemporaryDirectory(prefix="mlops-browser-") as profile:
        options = Options()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        started = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield Browser(started, out, home)
        finally:
            started.quit()


def groups_of(client: httpx.Client, ui: str) -> list[str]:
    answer = client.post(f"{ui}/graphql", json={"query": "{ assetNodes { groupName } }"}).json()
    return sorted({node["groupName"] for node in answer["data"]["assetNodes"]})


def take_pictures(browser: Browser, *, ui: str, api: str, token: str) -> None:
    """Take every picture of the documentation."""
    with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        graph, groups = DagsterUi(ui, client).graph(), groups_of(client, ui)
    with httpx.Client(
        base_url=api, trust_env=False, timeout=TIMEOUT_SECONDS, headers={"Authorization": f"Bearer {token}"}
    ) as client:
        report = newest_report(client)
    drift = next(name for name in graph.sensors if name.startswith("drift_"))
    replay = next(name for name in graph.schedules if name.startswith("nightly_replay_"))
    scenario = replay.removeprefix("nightly_replay_")

    browser.open(f"{ui}/automation", until=drift, width=1400, height=420)
    for key in ("large-screen-nav-open", "dagster-nav-collapsed"):
        browser.remember(key, "false" if key.endswith("open") else "true")
    take_lineage(browser, ui, groups, "signal_classifier")
    pages: list[tuple[str, str, str, int]] = [
        ("automation", "automation", "refresh", 482),
        ("asset-features-momentum", "assets/features/momentum", "Column name", 2760),
        (f"asset-reports-{scenario}", f"assets/reports/{scenario}", "Metadata", 1560),
        ("asset-models-return_forecast", "assets/models/return_forecast", "walk_forward", 1480),
        ("asset-deployments-signal_classifier", "assets/deployments/signal_classifier", "approvals_needed", 1120),
        ("asset-governance-audit_checkpoint", "assets/governance/audit_checkpoint", "Metadata", 1250),
        ("sensor-approval_sla", f"locations/{CODE_LOCATION}/sensors/approval_sla", "Cursor", 780),
        ("sensor-drift", f"locations/{CODE_LOCATION}/sensors/{drift}", "Cursor", 780),
        ("schedule-replay", f"locations/{CODE_LOCATION}/schedules/{replay}", "Next tick", 440),
    ]
    for name, path, until, height in pages:
        browser.open(f"{ui}/{path}", until=until, width=1400, height=height)
        browser.shoot(name)
    opened: list[tuple[str, str, str, int]] = [
        ("asset-features-momentum-look-ahead", "assets/features/momentum?view=checks", "look_ahead", 850),
        ("asset-features-volatility-inputs", "assets/features/volatility?view=checks", "inputs_available", 850),
        (f"asset-reports-{scenario}-equity", f"assets/reports/{scenario}", "[Show Markdown]", 760),
    ]
    for name, path, clicked, height in opened:
        browser.open(f"{ui}/{path}", until=clicked, width=1400, height=height)
        browser.click(clicked)
        browser.shoot(name)
    browser.sign_in(token)
    browser.open(f"{api}{report}", until=scenario, width=1100, height=1900)
    browser.shoot(f"report-{scenario}")


def take_lineage(browser: Browser, ui: str, groups: list[str], model: str) -> None:
    """Picture the groups of the graph, and all that a model's deployment rests on."""
    browser.open(f"{ui}/asset-groups", until=groups[0], width=1500, height=1000, sharpness=1.5)
    browser.shoot("lineage-groups", browser.box_of_the_graph())
    rests_on = f"{ui}/assets/deployments/{model}?view=lineage&lineageScope=upstream&lineageDepth=10"
    browser.open(rests_on, until="market_data", width=2000, height=1190, sharpness=1.2)
    browser.shoot("lineage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--ui", required=True, help="URL of the Dagster UI")
    parser.add_argument("--api", required=True, help="URL of the REST API")
    parser.add_argument("--home", required=True, type=Path, help="home of that platform; its api_token is read")
    parser.add_argument("--out", default=Path("docs/screenshots"), type=Path, help="folder of the pictures")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    parser.add_argument("--driver", default="/usr/bin/chromedriver", help="its driver")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    token = (given.home / "api_token").read_text(encoding="ascii").strip()
    with open_browser(given.out, home=given.home, chromium=given.chromium, driver=given.driver) as browser:
        take_pictures(browser, ui=given.ui.rstrip("/"), api=given.api.rstrip("/"), token=token)


if __name__ == "__main__":
    main()
