from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.governance.store import ApprovalStore
from mlops_assets.governance.transitions import State
from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import Conflict
from mlops_assets.ledger.store import Ledger
from mlops_assets.prompts.assets import bundle_definitions, prompt_definitions
from mlops_assets.prompts.providers import Scripted
from mlops_assets.prompts.spec import PromptVersion
from mlops_assets.prompts.store import PromptStore
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database
from tests.governance.worlds import ACCESS, People
from tests.governance.worlds import RULES as RULES_OF_APPROVAL
from tests.prompts.examples import PROMPT, TRUE_EN, TRUE_KO, Reports, prompt
from tests.prompts.test_grade import RULES
from tests.prompts.test_store import ACTOR, FALSE_EN


@pytest.fixture
def versions(tmp_path: Path) -> list[PromptVersion]:
    folder = tmp_path / "catalog"
    (folder / "narrator").mkdir(parents=True)
    found: list[PromptVersion] = []
    for number in ("1.0.0", "1.1.0"):
        (folder / "narrator" / f"{number}.md").write_text(PROMPT.replace("version: 1.0.0", f"version: {number}"))
        found.append(prompt(folder=folder, version=number))
    return found


@pytest.fixture
def resources(
    database: Database, ledger: Ledger, blobs: BlobStore, snapshots: SnapshotStore, clock: FixedClock
) -> dict[str, Any]:
    return {
        "snapshots": snapshots,
        "blobs": blobs,
        "reports": Reports(),
        "prompt_store": PromptStore(database, ledger, blobs, clock),
        "approvals": ApprovalStore(
            database, ledger, clock, rules=RULES_OF_APPROVAL, access=ACCESS, directory=People(), seal=lambda: None
        ),
        "actor": ACTOR,
    }


def scripted(english: str) -> Scripted:
    return Scripted(
        {("en", "plain"): json.dumps({"summary": english}), ("ko", "plain"): json.dumps({"summary": TRUE_KO})}
    )


def definitions(versions: list[PromptVersion], resources: dict[str, Any], english: str) -> dg.Definitions:
    return dg.Definitions.merge(
        prompt_definitions(versions, RULES),
        bundle_definitions({"narrator": versions}),
        dg.Definitions(resources={**resources, "provider": scripted(english)}),
    )


def run(defs: dg.Definitions, instance: dg.DagsterInstance, *, partition: str | None) -> dg.ExecuteInProcessResult:
    subject = dg.AssetSelection.groups("prompts")
    bundle = dg.AssetSelection.assets("prompt_bundle")
    job = dg.define_asset_job("all", subject - bundle if partition else bundle)
    resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("all")
    return resolved.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)


def test_a_true_version_passes_and_is_bundled(versions: list[PromptVersion], resources: dict[str, Any]):
    with dg.instance_for_test() as instance:
        defs = definitions(versions, resources, TRUE_EN)
        assert run(defs, instance, partition="1.0.0").success
        result = run(defs, instance, partition=None)
        assert result.success
        (event,) = result.asset_materializations_for_node("prompt_bundle")
    assert event.metadata["prompt_count"].value == 1
    assert event.metadata["left_out"].value == ["narrator@1.1.0"]
    sha256 = str(event.metadata["bundle_sha256"].value)
    (bundled,) = json.loads(resources["blobs"].get(sha256))["prompts"]
    assert bundled["prompt_fingerprint"] == versions[0].fingerprint


def test_a_false_number_fails_the_blocking_check_and_stays_out_of_the_bundle(
    versions: list[PromptVersion], resources: dict[str, Any]
):
    with dg.instance_for_test() as instance:
        defs = definitions(versions, resources, FALSE_EN)
        result = run(defs, instance, partition="1.1.0")
        (check,) = result.get_asset_check_evaluations()
        assert not check.passed
        assert "13.2%" in str(check.metadata["failures"].value)
        assert run(defs, instance, partition=None).success
    assert resources["prompt_store"].bundle(versions) == []


def test_a_version_that_passes_drafts_its_approval_and_one_that_fails_takes_it_back(
    versions: list[PromptVersion], resources: dict[str, Any]
):
    approvals: ApprovalStore = resources["approvals"]
    with dg.instance_for_test() as instance:
        run(definitions(versions, resources, TRUE_EN), instance, partition="1.0.0")
        (drafted,) = approvals.list()
        record = resources["prompt_store"].latest("narrator", "1.0.0")
        approvals.submit(drafted.id, by=ACTOR)
        run(definitions(versions, resources, FALSE_EN), instance, partition="1.0.0")
        run(definitions(versions, resources, FALSE_EN), instance, partition="1.1.0")
    assert (drafted.subject, drafted.state) == ("prompts/narrator@1.0.0", State.DRAFT)
    assert drafted.tier == {"internal": 2}.get(versions[0].audience, 1)
    parts = {part.name: (part.kind.value, part.fingerprint) for part in drafted.evidence.parts}
    assert parts["content"] == ("subject", versions[0].fingerprint)
    assert parts["evaluation"] == ("report", record.id)
    assert parts["outputs"] == ("data", record.outputs_fingerprint)
    assert {name: kind for name, (kind, _) in parts.items()} == {
        "content": "subject",
        "evaluation": "report",
        "thresholds": "thresholds",
        "outputs": "data",
        f"report.{versions[0].report}": "data",
        **{f"policy.{name}": "policy" for name in record.findings["rules"]},
        "tier_rule": "policy",
    }
    (void,) = approvals.list()
    assert void.state is State.REVOKED
    assert void.closed_reason.endswith("did not pass")


def test_running_again_publishes_nothing_new(versions: list[PromptVersion], resources: dict[str, Any], ledger: Ledger):
    with dg.instance_for_test() as instance:
        defs = definitions(versions, resources, TRUE_EN)
        run(defs, instance, partition="1.0.0")
        before = len(list(ledger.entries()))
        run(defs, instance, partition="1.0.0")
    assert len(list(ledger.entries())) == before == 4  # and the draft of its approval


def test_answers_to_another_content_of_the_prompt_are_not_evaluated(
    versions: list[PromptVersion], resources: dict[str, Any]
):
    with dg.instance_for_test() as instance:
        run(definitions(versions, resources, TRUE_EN), instance, partition="1.0.0")
        edited = [replace(version, fingerprint="f" * 64) for version in versions]
        defs = definitions(edited, resources, TRUE_EN)
        evaluate = dg.define_asset_job("evaluate", dg.AssetSelection.assets("prompt_evaluations/narrator"))
        job = dg.Definitions.merge(defs, dg.Definitions(jobs=[evaluate])).resolve_job_def("evaluate")
        with pytest.raises(Conflict, match="another content"):
            job.execute_in_process(instance=instance, partition_key="1.0.0")


def test_every_asset_says_who_owns_it_and_where_it_is_declared(
    versions: list[PromptVersion], resources: dict[str, Any]
):
    for spec in definitions(versions, resources, TRUE_EN).resolve_all_asset_specs():
        if spec.key.path[0] == "reports":
            continue
        assert spec.owners == ["team:quant"], spec.key
        assert spec.group_name == "prompts"
        assert spec.description
        assert spec.code_version
        assert spec.kinds
        (reference,) = spec.metadata["dagster/code_references"].code_references
        if spec.key.path[0] != "prompt_bundle":
            assert reference.file_path == str(versions[-1].declared_in)


def test_the_shipped_definitions_load_together(versions: list[PromptVersion], resources: dict[str, Any]):
    dg.Definitions.validate_loadable(definitions(versions, resources, TRUE_EN))


KEYS = [
    dg.AssetKey(["prompts", "narrator"]),
    dg.AssetKey(["prompt_outputs", "narrator"]),
    dg.AssetKey(["prompt_evaluations", "narrator"]),
    dg.AssetKey(["prompt_bundle"]),
]


def requested(result: dg.EvaluateAutomationConditionsResult) -> dict[str, set[str | None]]:
    """Return what a tick asks for: the partitions by asset."""
    return {key.path[0]: found for key in KEYS if (found := result.get_requested_partitions(key))}


def test_a_version_that_is_added_is_carried_to_the_bundle_and_then_all_is_quiet(
    versions: list[PromptVersion], resources: dict[str, Any]
):
    def declared(count: int) -> dg.Definitions:
        report = dg.Definitions(assets=[dg.AssetSpec(["reports", "crash"])])
        return dg.Definitions.merge(definitions(versions[:count], resources, TRUE_EN), report)

    with dg.instance_for_test() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["reports", "crash"]))
        run(declared(1), instance, partition="1.0.0")
        run(declared(1), instance, partition=None)
        before = dg.evaluate_automation_conditions(declared(1), instance)
        assert requested(before) == {}

        asked: list[dict[str, set[str | None]]] = []
        cursor = before.cursor
        for _ in range(6):
            tick = dg.evaluate_automation_conditions(declared(2), instance, cursor=cursor)
            cursor = tick.cursor
            asked.append(requested(tick))
            for key in KEYS:
                for partition in sorted(tick.get_requested_partitions(key), key=str):
                    materialise(declared(2), instance, key, partition)
    # The older version runs again, since its asset's declaration changed, and publishes nothing.
    assert len(resources["snapshots"].history("prompt_outputs/narrator/1.0.0")) == 1
    assert {name for one in asked for name in one} == {key.path[0] for key in KEYS}
    assert asked[-1] == {}
    assert [one.version for one in resources["prompt_store"].bundle(versions)] == ["1.0.0", "1.1.0"]


def materialise(defs: dg.Definitions, instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> None:
    job = dg.define_asset_job("one", dg.AssetSelection.assets(key))
    resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("one")
    assert resolved.execute_in_process(instance=instance, partition_key=partition).success
