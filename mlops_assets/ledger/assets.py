"""The graph of the ledger: `governance/audit_checkpoint` verifies the chain and vouches for its head."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.ledger.automation import hourly_checkpoint
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.checkpoints import Checkpoints
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.verification import Verification
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.timing import hourly_freshness, refresh_when_any_input_changes

AUDIT_CHECKPOINT = "governance/audit_checkpoint"
CHECK = "chain_is_intact"


def checkpoint_definitions(after: str) -> dg.Definitions:
    """Return the asset of the checkpoint, its check and its schedule; it also refreshes with the dataset `after`."""

    @dg.asset(
        key=key(AUDIT_CHECKPOINT),
        deps=[key(after)],
        description="The audit ledger, verified from its first entry against every checkpoint, and signed at its head.",
        owners=["team:compliance"],
        group_name="governance",
        kinds={"sql"},
        code_version=code_version(
            fingerprint(AUDIT_CHECKPOINT), "mlops_assets.ledger.seal", "mlops_assets.ledger.verification"
        ),
        metadata=asset_metadata(file=Path(__file__)),
        automation_condition=refresh_when_any_input_changes(),
        freshness_policy=hourly_freshness(),
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key(AUDIT_CHECKPOINT),
                blocking=True,
                description="No entry was edited, moved, inserted, removed or written anew; every signature holds.",
            )
        ],
    )
    def audit_checkpoint(
        journal: dg.ResourceParam[Ledger], checkpoints: dg.ResourceParam[Checkpoints]
    ) -> dg.MaterializeResult:
        verification = journal.verify()
        signed = checkpoints.sign() if verification.is_intact and verification.entries else None
        return _result(verification, signed, count=len(checkpoints.all()) if verification.is_intact else None)

    return dg.Definitions(assets=[audit_checkpoint], schedules=[hourly_checkpoint(AUDIT_CHECKPOINT)])


def _result(verification: Verification, signed: Checkpoint | None, *, count: int | None) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        data_version=dg.DataVersion(verification.head_hash),
        metadata={
            "entries": verification.entries,
            "head_hash": verification.head_hash,
            "checkpoint_seq": None if signed is None else signed.seq,
            "key_id": None if signed is None else signed.key_id,
            "checkpoints": count,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK,
                passed=verification.is_intact,
                metadata={
                    "entries": verification.entries,
                    "first_bad": verification.first_bad,
                    "checkpoints_compared": verification.checkpoints,
                    "vouched": verification.vouched,
                    "problem": verification.problem or "none",
                },
            )
        ],
    )
