"""The graph of prompts: each version as declared, its answers, its evaluation, and the bundle of those that passed."""
# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import dagster as dg

from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.columns import Column
from mlops_assets.kernel.fingerprint import canonical_json, fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import snapshot_result
from mlops_assets.orchestration.timing import content_freshness, refresh_when_inputs_change
from mlops_assets.prompts.approval_evidence import TIER_BY_AUDIENCE, approval_evidence, subject_of
from mlops_assets.prompts.context import Reports, facts_of, latest_facts
from mlops_assets.prompts.grade import grade
from mlops_assets.prompts.outputs import COLUMNS, as_table, ask, from_table, inputs_of, report_of
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.providers import ModelProvider
from mlops_assets.prompts.results import answers_text, claim_counts, claims_table, origin_metadata
from mlops_assets.prompts.spec import PromptVersion
from mlops_assets.prompts.store import EvaluationRecord, PromptStore
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import Provenance, SnapshotStore

GROUP = "prompts"
CHECK = "is_fit_for_use"

_VERSION_COLUMNS = (
    Column(name="prompt_id", type="string", description="The prompt."),
    Column(name="version", type="string", description="Its version."),
    Column(name="fingerprint", type="string", description="Fingerprint of front matter and body."),
    Column(name="content_sha256", type="string", description="SHA-256 of the file; the blob of that name holds it."),
)
_OUTPUT_MODULES = tuple(
    f"mlops_assets.prompts.{name}" for name in ("context", "outputs", "providers", "render", "template")
)
_GRADE_MODULES = tuple(
    f"mlops_assets.prompts.{name}" for name in ("facts", "grade", "mentions", "negation", "policy", "quantity")
)


def prompt_definitions(versions: Sequence[PromptVersion], policies: Mapping[str, PolicyRule]) -> dg.Definitions:
    """Return the assets of one prompt, partitioned by its versions (oldest first), with its blocking check."""
    if len({version.id for version in versions}) != 1:
        raise ValueError(f"these are versions of one prompt, not of {sorted({one.id for one in versions})}")
    partitions = dg.StaticPartitionsDefinition([version.version for version in versions])
    by_version = {version.version: version for version in versions}
    declared = _declared_asset(by_version, partitions)
    outputs = _outputs_asset(by_version, partitions)
    return dg.Definitions(assets=[declared, outputs, _evaluations_asset(by_version, partitions, policies)])


def bundle_definitions(prompts: Mapping[str, Sequence[PromptVersion]]) -> dg.Definitions:
    """Return the asset that lists, by hash, every declared version whose evaluation passed.

    A version that fails, or whose file changed since, is left out; so nothing has to be awaited for all partitions.
    """
    versions = [version for name in sorted(prompts) for version in prompts[name]]

    @dg.asset(
        key=key("prompt_bundle"),
        description="Every prompt version that passed its evaluation, with the hashes of what exactly passed.",
        owners=sorted({version.owner for version in versions}),
        group_name=GROUP,
        kinds={"json"},
        code_version=code_version(_identity(versions), "mlops_assets.prompts.store"),
        metadata=asset_metadata(file=Path(__file__)),
        deps=[
            dg.AssetDep(key(f"prompt_evaluations/{one}"), partition_mapping=dg.AllPartitionMapping())
            for one in sorted(prompts)
        ],
        freshness_policy=content_freshness(),
        automation_condition=_whenever_an_evaluation_changes(),
    )
    def prompt_bundle(
        prompt_store: dg.ResourceParam[PromptStore], blobs: dg.ResourceParam[BlobStore]
    ) -> dg.MaterializeResult:
        passed = [asdict(one) for one in prompt_store.bundle(versions)]
        sha256 = blobs.put(canonical_json({"format": "mlops_assets/prompt_bundle@1", "prompts": passed}))
        left_out = sorted({one.name for one in versions} - {f"{one['prompt_id']}@{one['version']}" for one in passed})
        return dg.MaterializeResult(
            data_version=dg.DataVersion(sha256),
            metadata={
                "bundle_sha256": sha256,
                "prompts": dg.MetadataValue.json(passed),
                "prompt_count": len(passed),
                "left_out": dg.MetadataValue.json(left_out),
            },
        )

    return dg.Definitions(assets=[prompt_bundle])


def _declared_asset(
    versions: Mapping[str, PromptVersion], partitions: dg.StaticPartitionsDefinition
) -> dg.AssetsDefinition:
    latest = _latest(versions)
    dataset = f"prompts/{latest.id}"

    @dg.asset(
        key=key(dataset),
        description=latest.description,
        owners=[latest.owner],
        group_name=GROUP,
        kinds={"markdown"},
        partitions_def=partitions,
        code_version=code_version(_identity(versions.values()), "mlops_assets.prompts.spec"),
        metadata=asset_metadata(file=latest.declared_in, columns=_VERSION_COLUMNS),
        freshness_policy=content_freshness(),
        automation_condition=_whenever_a_version_is_new(),
    )
    def declared(
        context: dg.AssetExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        blobs: dg.ResourceParam[BlobStore],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        import pyarrow as pa

        version = versions[context.partition_key]
        content = version.declared_in.read_bytes()
        row = {
            "prompt_id": version.id,
            "version": version.version,
            "fingerprint": version.fingerprint,
            "content_sha256": blobs.put(content),
        }
        published = snapshots.publish(
            f"{dataset}/{version.version}",
            pa.Table.from_pylist([row]),
            provenance=Provenance(code_version=version.fingerprint, inputs={}),
            actor=actor.name,
        )
        return snapshot_result(
            published,
            prompt_fingerprint=version.fingerprint,
            content_sha256=row["content_sha256"],
            audience=version.audience,
            locales=", ".join(version.locales),
            text=dg.MetadataValue.md(f"```markdown\n{content.decode()}\n```"),
        )

    return declared


def _outputs_asset(
    versions: Mapping[str, PromptVersion], partitions: dg.StaticPartitionsDefinition
) -> dg.AssetsDefinition:
    latest = _latest(versions)
    dataset = f"prompt_outputs/{latest.id}"
    reports_read = sorted({version.report for version in versions.values() if version.report is not None})

    @dg.asset(
        key=key(dataset),
        description=f"What every version of {latest.id} answers, for each of its cases and locales.",
        owners=[latest.owner],
        group_name=GROUP,
        kinds={"parquet"},
        partitions_def=partitions,
        deps=[key(f"prompts/{latest.id}"), *(key(f"reports/{name}") for name in reports_read)],
        code_version=code_version(_identity(versions.values()), *_OUTPUT_MODULES),
        metadata=asset_metadata(
            file=latest.declared_in,
            columns=COLUMNS,
            lineage={name: [(f"prompts/{latest.id}", name)] for name in ("prompt_id", "version")},
        ),
        freshness_policy=content_freshness(),
        automation_condition=refresh_when_inputs_change(),
    )
    def outputs(
        context: dg.AssetExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        reports: dg.ResourceParam[Reports],
        provider: dg.ResourceParam[ModelProvider],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        version = versions[context.partition_key]
        facts = latest_facts(version, reports)
        answered = ask(version, facts, provider)
        published = snapshots.publish(
            f"{dataset}/{version.version}",
            as_table(version, answered),
            provenance=Provenance(
                code_version=code_version(version.fingerprint, *_OUTPUT_MODULES), inputs=inputs_of(version, facts)
            ),
            actor=actor.name,
        )
        return snapshot_result(
            published, **origin_metadata(answered), answers=dg.MetadataValue.md(answers_text(answered))
        )

    return outputs


def _evaluations_asset(
    versions: Mapping[str, PromptVersion],
    partitions: dg.StaticPartitionsDefinition,
    policies: Mapping[str, PolicyRule],
) -> dg.AssetsDefinition:
    latest = _latest(versions)
    dataset = f"prompt_evaluations/{latest.id}"
    used = {name for version in versions.values() for name in version.policies}
    rules = {name: policies[name] for name in sorted(used)}
    identity = fingerprint([_identity(versions.values()), [rule.fingerprint for rule in rules.values()]])

    @dg.asset(
        key=key(dataset),
        description=(
            f"Whether the answers of every version of {latest.id} keep their schema, print only numbers that are true "
            "and break no rule. Fails closed: what was not checked has not passed."
        ),
        owners=[latest.owner],
        group_name=GROUP,
        kinds={"sql"},
        partitions_def=partitions,
        deps=[key(f"prompt_outputs/{latest.id}")],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=key(dataset),
                blocking=True,
                description="Every expected check ran on every answer, and passed.",
            )
        ],
        code_version=code_version(identity, *_GRADE_MODULES),
        metadata=asset_metadata(file=latest.declared_in),
        freshness_policy=content_freshness(),
        automation_condition=refresh_when_inputs_change(),
    )
    def evaluations(
        context: dg.AssetExecutionContext,
        snapshots: dg.ResourceParam[SnapshotStore],
        reports: dg.ResourceParam[Reports],
        prompt_store: dg.ResourceParam[PromptStore],
        approvals: dg.ResourceParam[ApprovalStore],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        version = versions[context.partition_key]
        published = snapshots.head(f"prompt_outputs/{version.id}/{version.version}")
        answered = from_table(snapshots.read(published))
        evaluation = grade(version, answered, facts_of(version, reports, report_of(version, published.inputs)), rules)
        record = prompt_store.record(evaluation, actor=actor)
        makers = {record.created_by, published.created_by}
        ask_for_approval(approvals, version, record, makers=makers, by=actor)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(record.id),
            metadata={
                "evaluation": record.id,
                "evaluation_sha256": record.evaluation_sha256,
                "report_sha256": evaluation.report_sha256,
                **claim_counts(evaluation),
                **origin_metadata(answered),
                "claims": dg.MetadataValue.md(claims_table(evaluation)),
            },
            check_results=[
                dg.AssetCheckResult(
                    check_name=CHECK,
                    passed=record.is_passed,
                    metadata={
                        "failures": dg.MetadataValue.json(list(evaluation.failures)),
                        "lowest_score": evaluation.score,
                        "checks_expected": len(evaluation.expected),
                        "checks_run": len(evaluation.checks),
                    },
                )
            ],
        )

    return evaluations


def ask_for_approval(
    approvals: ApprovalStore,
    version: PromptVersion,
    record: EvaluationRecord,
    *,
    makers: Collection[str],
    by: Principal,
) -> None:
    """Draft the approval of a version that passed; one that fails takes back what was asked for or approved."""
    subject, tier = subject_of(version), TIER_BY_AUDIENCE[version.audience]
    if record.is_passed:
        evidence = approval_evidence(version, record, approvals.rules.of(tier))
        approvals.draft(subject=subject, tier=tier, evidence=evidence, authors=makers, by=by)
    else:
        approvals.withdraw([subject], by=by, reason=f"its evaluation {record.id[:12]} did not pass")


def _whenever_a_version_is_new() -> dg.AutomationCondition:
    """Fill the partition of a version that was added, and fill it again when its declaration changes.

    Not `on_missing()`: it passes over what is missing at its first evaluation, and a new partition makes one.
    """
    condition = dg.AutomationCondition
    is_new = condition.missing() & (condition.missing().newly_true() | condition.initial_evaluation())
    is_handled = condition.newly_requested() | condition.newly_updated()
    wanted = (is_new | condition.code_version_changed()).since(is_handled) & ~condition.in_progress()
    return wanted.with_label("whenever_a_version_is_new")


def _whenever_an_evaluation_changes() -> dg.AutomationCondition:
    """Refresh also where a blocking check failed: a version that no longer passes has to leave the bundle."""
    changed = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
    return changed.with_label("whenever_an_evaluation_changes")


def _latest(versions: Mapping[str, PromptVersion]) -> PromptVersion:
    """Return the last one: the catalogue gives versions oldest first."""
    return list(versions.values())[-1]


def _identity(versions: Iterable[PromptVersion]) -> str:
    return fingerprint(sorted(version.fingerprint for version in versions))
