"""What the database refuses of the lifecycle: the guards that migration 0005 makes."""

from mlops_assets.storage.sql.migrations.triggers import Guard, refuses_another

MOVES = (
    ("registered", "evidence_complete"),
    ("registered", "superseded"),
    ("evidence_complete", "in_review"),
    ("evidence_complete", "registered"),
    ("evidence_complete", "superseded"),
    ("in_review", "approved"),
    ("in_review", "rejected"),
    ("in_review", "expired"),
    ("in_review", "registered"),
    ("in_review", "superseded"),
    ("approved", "shadow"),
    ("approved", "canary"),
    ("approved", "champion"),
    ("approved", "expired"),
    ("approved", "registered"),
    ("approved", "superseded"),
    ("shadow", "canary"),
    ("shadow", "champion"),
    ("shadow", "expired"),
    ("shadow", "registered"),
    ("shadow", "rolled_back"),
    ("canary", "champion"),
    ("canary", "expired"),
    ("canary", "registered"),
    ("canary", "rolled_back"),
    ("champion", "superseded"),
    ("champion", "rolled_back"),
    ("champion", "retired"),
    ("superseded", "champion"),
)
"""The moves that the database lets through: those of lifecycle/deployment/states.py, which a test compares."""

_WRITTEN_ONCE = ("serving_move", "attestation", "trial", "retraining")
_VERSION_FIXED = (
    "model",
    "version",
    "fingerprint",
    "artifact_sha256",
    "training_set_fingerprint",
    "code_version",
    "run_id",
    "metadata",
    "metrics",
    "created_at",
    "created_by",
)
_FIXED = ("id", "model", "model_version", "environment", "created_at", "created_by")
_ALLOWED = " OR ".join(f"(OLD.state = '{old}' AND NEW.state = '{new}')" for old, new in MOVES)
_PLACE = "m.model = NEW.model AND m.environment = NEW.environment"
_LAST = f"(SELECT max(m.epoch) FROM serving_move m WHERE {_PLACE})"
_HEAD_NAMES = (
    "EXISTS (SELECT 1 FROM serving_move h WHERE h.model = NEW.model AND h.environment = NEW.environment "
    f"AND h.epoch = {_LAST} AND h.{{column}} = NEW.id)"
)
_IS_NEW = (
    "NEW.{slot}_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM serving_move h WHERE h.model = NEW.model "
    f"AND h.environment = NEW.environment AND h.epoch = {_LAST} AND h.{{slot}}_id = NEW.{{slot}}_id "
    "AND h.{slot}_version = NEW.{slot}_version)"
)
_OWN_DEPLOYMENT = (
    "EXISTS (SELECT 1 FROM deployment d WHERE d.id = NEW.{slot}_id AND d.model = NEW.model "
    "AND d.environment = NEW.environment AND d.model_version = NEW.{slot}_version{more})"
)
_APPROVED = (
    " AND d.state IN ('approved', 'shadow', 'canary') AND EXISTS (SELECT 1 FROM approval a WHERE a.state = 'approved' "
    "AND a.evidence_fingerprint = d.evidence_fingerprint "
    "AND a.subject = 'deployments/' || d.model || '@' || d.model_version || '/' || d.environment)"
)
_SERVED_BEFORE = (
    " AND d.state = 'superseded' AND EXISTS (SELECT 1 FROM serving_move o WHERE o.model = NEW.model "
    "AND o.environment = NEW.environment AND o.champion_id = d.id)"
)
_MOVERS = ", ".join(f"'deployment.{verb}'" for verb in ("promote", "rollback", "retire", "reopen", "expire"))
_NEWEST_ENTRY = (
    "EXISTS (SELECT 1 FROM ledger_entry l WHERE l.seq = NEW.ledger_seq "
    "AND l.seq = (SELECT max(e.seq) FROM ledger_entry e)"
)
_MOVED = " OR ".join(
    f"coalesce(CAST(NEW.{name} AS TEXT), '') <> coalesce(CAST(OLD.{name} AS TEXT), '')"
    for name in ("evidence_fingerprint", "checklist", "plan", "tier")
)

GUARDS = (
    refuses_another("model_version", ["model", "version"], ["model", "fingerprint"]),
    Guard(
        table="model_version",
        operation="UPDATE",
        name="keeps_identity",
        refuses=(
            (
                " OR ".join(f"CAST(NEW.{name} AS TEXT) <> CAST(OLD.{name} AS TEXT)" for name in _VERSION_FIXED),
                "what a version is never changes",
            ),
        ),
    ),
    Guard(table="model_version", operation="DELETE", name="refuses_delete", refuses=()),
    refuses_another("serving_move", ["model", "environment", "epoch"]),
    refuses_another("attestation", ["model", "version", "item", "principal"]),
    refuses_another("trial", ["study", "number"]),
    refuses_another("retraining", ["model", "cause", "cause_id"]),
    refuses_another("deployment", ["id"]),
    Guard(
        table="serving_move",
        operation="INSERT",
        name="follows_the_last",
        refuses=(
            (f"NEW.epoch <> coalesce({_LAST}, 0) + 1", "a move of what serves follows the last one"),
            (
                "(NEW.champion_id IS NULL) <> (NEW.champion_version IS NULL)",
                "a champion has a deployment and a version",
            ),
            (
                "(NEW.challenger_id IS NULL) <> (NEW.challenger_mode IS NULL) OR "
                "(NEW.challenger_id IS NULL) <> (NEW.challenger_version IS NULL)",
                "a challenger has a version and a mode",
            ),
            (
                "NEW.challenger_id IS NOT NULL AND (NEW.champion_id IS NULL OR NEW.champion_id = NEW.challenger_id)",
                "a challenger runs beside a champion",
            ),
        ),
    ),
    Guard(
        table="serving_move",
        operation="INSERT",
        name="is_approved",
        refuses=(
            (
                _IS_NEW.format(slot="champion")
                + " AND NOT "
                + _OWN_DEPLOYMENT.format(slot="champion", more=_APPROVED)
                + " AND NOT "
                + _OWN_DEPLOYMENT.format(slot="champion", more=_SERVED_BEFORE),
                "only what is approved, or served before, becomes champion",
            ),
            (
                _IS_NEW.format(slot="challenger")
                + " AND NOT "
                + _OWN_DEPLOYMENT.format(slot="challenger", more=_APPROVED),
                "only what is approved becomes challenger",
            ),
            (
                f"NOT {_NEWEST_ENTRY} AND l.action IN ({_MOVERS}) AND EXISTS (SELECT 1 FROM deployment d "
                "WHERE d.id = NEW.deployment_id AND l.subject = "
                "'deployments/' || d.model || '@' || d.model_version || '/' || d.environment)) "
                "OR EXISTS (SELECT 1 FROM serving_move o WHERE o.ledger_seq = NEW.ledger_seq)",
                "a move of what serves is written with its ledger entry",
            ),
        ),
    ),
    Guard(
        table="attestation",
        operation="INSERT",
        name="is_on_record",
        refuses=(
            (
                f"NOT {_NEWEST_ENTRY} AND l.action = 'attestation.add' AND l.actor = NEW.principal "
                "AND l.subject = 'models/' || NEW.model || '@' || NEW.version)",
                "an attestation is written with its ledger entry",
            ),
        ),
    ),
    Guard(
        table="deployment",
        operation="INSERT",
        name="begins_as_registered",
        refuses=(("NEW.state <> 'registered'", "a deployment begins as registered"),),
    ),
    Guard(
        table="deployment",
        operation="UPDATE",
        name="moves",
        refuses=(
            (
                " OR ".join(f"NEW.{name} <> OLD.{name}" for name in _FIXED),
                "what a deployment is of never changes",
            ),
            (f"NEW.state <> OLD.state AND NOT ({_ALLOWED})", "a deployment does not move that way"),
            (
                f"OLD.state <> 'registered' AND NEW.state <> 'registered' AND ({_MOVED})",
                "what people approve is not changed, but asked anew",
            ),
            (
                "NEW.state <> OLD.state AND (NEW.state = 'champion' OR OLD.state = 'champion') "
                f"AND (NEW.state = 'champion') <> {_HEAD_NAMES.format(column='champion_id')}",
                "the serving log says who is champion",
            ),
            (
                "NEW.state <> OLD.state AND (NEW.state IN ('shadow', 'canary') OR OLD.state IN ('shadow', 'canary')) "
                f"AND (NEW.state IN ('shadow', 'canary')) <> {_HEAD_NAMES.format(column='challenger_id')}",
                "the serving log says who is challenger",
            ),
        ),
    ),
    Guard(table="deployment", operation="DELETE", name="refuses_delete", refuses=()),
    *(
        Guard(table=table, operation=operation, name=f"refuses_{operation.lower()}", refuses=())
        for table in _WRITTEN_ONCE
        for operation in ("UPDATE", "DELETE")
    ),
)
