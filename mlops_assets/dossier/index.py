"""What a dossier says on its first page, as one value: for `index.json`, and for the page made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from mlops_assets.dossier.approvals import ApprovalRow
from mlops_assets.dossier.archive import FORMAT
from mlops_assets.dossier.contents import folder_of
from mlops_assets.dossier.declared import Declaration, Standing
from mlops_assets.dossier.things import Thing, ThingKind
from mlops_assets.dossier.trace import Traced
from mlops_assets.ledger.entry import Entry

STAGES = (
    *("data", "features", "training_sets", "models", "predictions", "explanations", "replays", "reports"),
    *("drift", "deployments", "prompts", "answers", "prompt_evaluations", "releases", "certificates", "alerts"),
)
_STAGE_OF_DATASET = {
    "market": "data",
    "features": "features",
    "datasets": "training_sets",
    "predictions": "predictions",
    "explanations": "explanations",
    "evaluation": "replays",
    "drift": "drift",
    "prompts": "prompts",
    "prompt_outputs": "answers",
}
_STAGE_OF_KIND = {
    ThingKind.MODEL: "models",
    ThingKind.REPLAY: "replays",
    ThingKind.REPORT: "reports",
    ThingKind.DRIFT_EVENT: "drift",
    ThingKind.DEPLOYMENT: "deployments",
    ThingKind.EVALUATION: "prompt_evaluations",
    ThingKind.RELEASE: "releases",
    ThingKind.CERTIFICATE: "certificates",
    ThingKind.ALERT: "alerts",
}


def build_index(
    traced: Traced,
    *,
    entries: Sequence[Entry],
    files: Mapping[str, bytes],
    declarations: Sequence[Declaration],
    code: Mapping[str, Any],
    made_at: datetime,
    made_by: str,
) -> dict[str, Any]:
    """Say everything the first page says.

    Args:
        files: of the archive so far, by path; what is named here is linked to them.
    """
    lineage = [_line(one, traced, files) for one in traced.things.values()]
    return {
        "format": FORMAT,
        "subject": _subject(traced),
        "made_at": made_at,
        "made_by": made_by,
        "as_of": {"seq": traced.as_of.seq, "hash": traced.as_of.hash},
        "findings": _findings(traced, declarations, made_at),
        "approvals": [one.as_json() for one in traced.approvals],
        "timeline": [_told(entry) for entry in entries],
        "lineage": sorted(lineage, key=lambda line: (STAGES.index(line["stage"]), line["id"])),
        "declarations": [
            {
                "name": one.name,
                "standing": one.standing.value,
                "recorded": one.recorded,
                "now": None if one.declared is None else one.declared.fingerprint,
                "files": sorted(one.members),
            }
            for one in declarations
        ],
        "code": {name: code[name] for name in ("python", "libraries", "source_fingerprint")},
    }


def _subject(traced: Traced) -> dict[str, Any]:
    first, *_ = traced.own
    return {
        "id": traced.subject.id,
        "kind": traced.subject.kind.value,
        "name": traced.subject.name,
        "version": traced.subject.version,
        "things": [
            {
                "id": one.id,
                "fingerprint": one.fingerprint,
                "made_at": one.made_at,
                "made_by": one.made_by,
                "made_from": [{"name": named.name, "fingerprint": named.fingerprint} for named in one.inputs],
                "code_version": one.row.get("code_version"),
            }
            for one in traced.own
        ],
        "description": first.row.get("metadata", {}).get("description", ""),
        "owner": first.row.get("metadata", {}).get("owner", ""),
        "metrics": first.row.get("metrics", {}),
    }


def _line(one: Thing, traced: Traced, files: Mapping[str, bytes]) -> dict[str, Any]:
    folder = folder_of(one, traced)
    return {
        "stage": _stage(one),
        "kind": one.kind.value,
        "id": one.id,
        "fingerprint": one.fingerprint,
        "made_at": one.made_at,
        "made_by": one.made_by,
        "is_subject": one in traced.own,
        "status": one.row.get("state" if one.kind is ThingKind.DEPLOYMENT else "status"),
        "rows": one.row.get("row_count"),
        "data_files": [
            {name: file[name] for name in ("path", "sha256", "byte_count")} for file in one.row.get("files", ())
        ],
        "files": sorted(path for path in files if path.rpartition("/")[0] == folder),
    }


def _stage(one: Thing) -> str:
    if one.kind is ThingKind.SNAPSHOT:
        return _STAGE_OF_DATASET.get(one.row["dataset"].split("/")[0], "data")
    return _STAGE_OF_KIND[one.kind]


def _told(entry: Entry) -> dict[str, Any]:
    told = ("seq", "at", "actor", "action", "subject", "before", "after", "reason")
    return {name: getattr(entry, name) for name in told}


def _findings(traced: Traced, declarations: Sequence[Declaration], at: datetime) -> list[dict[str, str]]:
    """List what a reader has to know first; the words belong to the page."""
    found = [_found("override", one.id, _overriders(one)) for one in traced.approvals if one.row["is_override"]]
    found += [_found("approval_over", one.id, str(one.row["subject"])) for one in traced.approvals if _is_over(one, at)]
    found += [_found("no_approval", traced.subject.id)] if not traced.approvals else []
    found += [_found("gap", f"{gap.name} {gap.fingerprint}", gap.named_by) for gap in traced.gaps]
    for one in traced.things.values():
        match one.kind:
            case ThingKind.CERTIFICATE if not one.row["is_clean"]:
                found.append(_found("look_ahead", one.row["view"], ", ".join(one.row["peeks"])))
            case ThingKind.DRIFT_EVENT if one.row["status"] != "resolved":
                found.append(_found("open_drift", one.row["subject"], one.row["message"]))
            case ThingKind.EVALUATION if not one.row["is_passed"]:
                found.append(_found("failed_evaluation", one.id, "; ".join(one.row["findings"].get("failures", []))))
            case ThingKind.REPLAY:
                failed = [str(check["check"]) for check in one.row["checks"] if not check["is_passed"]]
                found += [_found("failed_checks", one.id, ", ".join(failed))] if failed else []
            case _:
                pass
    changed = (one for one in declarations if one.standing in (Standing.CHANGED, Standing.GONE))
    return [*found, *(_found(f"declaration_{one.standing}", one.name, one.recorded or "") for one in changed)]


def _found(what: str, about: str, detail: str = "") -> dict[str, str]:
    return {"what": what, "about": about, "detail": detail}


def _is_over(one: ApprovalRow, at: datetime) -> bool:
    until = one.row["expires_at"]
    return one.row["state"] == "approved" and until is not None and until <= at


def _overriders(one: ApprovalRow) -> str:
    return "; ".join(f"{two['principal']}: {two['reason']}" for two in one.overrides)
