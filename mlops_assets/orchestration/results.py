"""What an asset reports after it ran: its snapshot as data version and metadata, its plots inline."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.storage.parquet.snapshots import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLOT_DPI = 110


def snapshot_result(published: Snapshot, **metadata: Any) -> dg.MaterializeResult:  # noqa: ANN401 - Dagster's own type
    """Report a published snapshot; its content fingerprint is Dagster's data version."""
    return dg.MaterializeResult(
        data_version=dg.DataVersion(published.fingerprint),
        metadata={
            "dagster/row_count": published.row_count,
            "snapshot": published.id,
            "fingerprint": published.fingerprint,
            "size_bytes": published.byte_count,
            "inputs": dg.MetadataValue.json(dict(published.inputs)),
            "ledger_entry": published.ledger_seq,
            **metadata,
        },
    )


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure as PNG whose bytes depend on the figure alone."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_PLOT_DPI, bbox_inches="tight", metadata={"Software": None})
    return stream.getvalue()


def plot_metadata(figure: Figure) -> dg.MarkdownMetadataValue:
    """Show a figure inside Dagster's page of the asset."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png_bytes(figure)).decode()})")
