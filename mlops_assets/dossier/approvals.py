"""Which approvals were asked for and given: each request with its parties, decisions and overrides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mlops_assets.dossier.stored import rows
from mlops_assets.identity.token_rows import issuers_of
from mlops_assets.storage.sql import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRow:
    """One request as stored, with the rows that belong to it."""

    row: Mapping[str, Any]
    parties: tuple[Mapping[str, Any], ...]
    decisions: tuple[Mapping[str, Any], ...]
    overrides: tuple[Mapping[str, Any], ...]

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def people(self) -> frozenset[str]:
        """Who decided or overrode."""
        return frozenset(
            {str(one["approver"]) for one in self.decisions} | {str(one["principal"]) for one in self.overrides}
        )

    def as_json(self) -> dict[str, Any]:
        return {
            **self.row,
            "parties": [dict(one) for one in self.parties],
            "decisions": [dict(one) for one in self.decisions],
            "overrides": [dict(one) for one in self.overrides],
        }


def approvals_of(
    connection: sa.Connection,
    *,
    subjects: Collection[str],
    fingerprints: Collection[str],
    reports: Collection[str],
) -> list[ApprovalRow]:
    """Return the requests, oldest first, that are about one of `subjects` or rest on one of `fingerprints`.

    A sign-off of one of `reports` belongs here too; a deployment of something else that rests on it does not.
    """

    def is_related(row: Mapping[str, Any]) -> bool:
        named = named_fingerprints(row["evidence"])
        is_sign_off = str(row["subject"]).startswith("reports/") and not named.isdisjoint(reports)
        return row["subject"] in subjects or is_sign_off or not named.isdisjoint(fingerprints)

    found = filter(is_related, rows(connection, tables.approval))
    return [_whole(connection, row) for row in sorted(found, key=lambda row: (row["created_at"], row["id"]))]


def named_fingerprints(evidence: object) -> frozenset[str]:
    """Return the fingerprints of the parts of a request's evidence; none where the row is damaged."""
    parts = evidence.get("parts") if isinstance(evidence, Mapping) else None
    if not isinstance(parts, list):
        return frozenset()
    return frozenset(str(part.get("fingerprint")) for part in parts if isinstance(part, Mapping))


def _whole(connection: sa.Connection, row: Mapping[str, Any]) -> ApprovalRow:
    def belonging(table: sa.Table) -> tuple[Mapping[str, Any], ...]:
        return tuple(rows(connection, table, table.c.approval_id == row["id"]))

    def proved(table: sa.Table) -> tuple[Mapping[str, Any], ...]:
        """Add who issued the credential: somebody else there could have spoken in their name."""
        return tuple({**one, "issued_by": issuers_of(connection, str(one["credential"]))} for one in belonging(table))

    return ApprovalRow(
        row=row,
        parties=belonging(tables.approval_party),
        decisions=proved(tables.approval_decision),
        overrides=proved(tables.approval_override),
    )
