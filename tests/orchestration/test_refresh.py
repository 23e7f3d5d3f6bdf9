"""What is stale is made, inputs first; what is right is left alone."""

import dagster as dg
import pytest

from mlops_assets.orchestration.refresh import Progress, materialise_stale
from mlops_assets.orchestration.staleness import stale_targets
from mlops_assets.orchestration.timing import BY_HAND, refresh_on_cadence

SIZES = dg.StaticPartitionsDefinition(["small", "large"])


def graph(*, code: str = "1", content: str = "same", passes: bool = True, breaks: bool = False) -> dg.Definitions:
    """Return source → doubled → by_size (partitioned) → summary; `content` is what `source` makes."""

    @dg.asset(code_version=code)
    def source() -> dg.MaterializeResult:
        if breaks:
            raise RuntimeError("the vendor is down")
        return dg.MaterializeResult(data_version=dg.DataVersion(content))

    @dg.asset_check(asset=source, blocking=True)
    def is_good() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes)

    @dg.asset(deps=[source], code_version="1")
    def doubled() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content * 2))

    @dg.asset(deps=[doubled], partitions_def=SIZES, code_version="1")
    def by_size() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content * 3))

    @dg.asset(deps=[dg.AssetDep(by_size, partition_mapping=dg.AllPartitionMapping())], code_version="1")
    def summary() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content * 4))

    @dg.asset(code_version="1")
    def aside() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("aside"))

    return dg.Definitions(assets=[source, doubled, by_size, summary, aside], asset_checks=[is_good])


LINE = ["source", "doubled", "by_size[small]", "by_size[large]", "summary"]
EVERYTHING = [*LINE, "aside"]


def refresh(definitions: dg.Definitions, instance: dg.DagsterInstance) -> list[str]:
    return [str(target) for target in materialise_stale(definitions, instance, lambda progress: None).made]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_everything_is_made_once_inputs_first(instance: dg.DagsterInstance):
    assert sorted(refresh(graph(), instance)) == sorted(EVERYTHING)
    assert refresh(graph(), instance) == []


def test_progress_counts_every_target(instance: dg.DagsterInstance):
    heard: list[Progress] = []
    materialise_stale(graph(), instance, heard.append)
    assert [progress.done for progress in heard] == [1, 2, 3, 4, 5, 6]
    assert {progress.total for progress in heard} == {6}


def test_new_code_makes_its_asset_and_what_follows_again(instance: dg.DagsterInstance):
    refresh(graph(), instance)
    assert sorted(refresh(graph(code="2"), instance)) == sorted(LINE)
    assert refresh(graph(code="2"), instance) == []


def test_a_moved_input_makes_what_follows_stale(instance: dg.DagsterInstance):
    refresh(graph(), instance)
    job = graph(content="new").resolve_implicit_job_def_def_for_assets([dg.AssetKey("source")])
    assert job is not None
    job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("source")])
    stale = [str(target) for target in stale_targets(graph(content="new").resolve_asset_graph(), instance)]
    assert sorted(stale) == sorted(LINE[1:])


def test_a_changed_source_makes_everything_stale(instance: dg.DagsterInstance):
    refresh(graph(), instance)
    stale = stale_targets(graph().resolve_asset_graph(), instance, changed=[dg.AssetKey("source")])
    assert sorted(str(target) for target in stale) == sorted(LINE)


def patient(*, code: str = "1", content: str = "same") -> dg.Definitions:
    """Return data → model (on its cadence) → predictions, and a search that is made by hand."""

    @dg.asset(code_version=code)
    def data() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content))

    @dg.asset(deps=[data], code_version="1", automation_condition=refresh_on_cadence())
    def model() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(f"learned from {content}"))

    @dg.asset(deps=[data, model], code_version="1")
    def predictions() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(f"said of {content}"))

    @dg.asset(deps=[data], code_version="1", tags=BY_HAND)
    def search() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion("found"))

    return dg.Definitions(assets=[data, model, predictions, search])


def test_what_is_made_by_hand_is_never_stale(instance: dg.DagsterInstance):
    assert sorted(refresh(patient(), instance)) == ["data", "model", "predictions"]


def test_new_content_waits_for_the_cadence_and_reaches_what_follows(instance: dg.DagsterInstance):
    refresh(patient(), instance)
    changed = [dg.AssetKey("data")]
    outcome = materialise_stale(patient(content="new"), instance, lambda progress: None, changed=changed)
    assert [str(target) for target in outcome.made] == ["data", "predictions"]
    assert refresh(patient(content="new"), instance) == []


def test_new_code_of_an_input_does_not_wait(instance: dg.DagsterInstance):
    refresh(patient(), instance)
    assert sorted(refresh(patient(code="2"), instance)) == ["data", "model", "predictions"]


def test_what_is_named_as_changed_does_not_wait(instance: dg.DagsterInstance):
    refresh(patient(), instance)
    changed = [dg.AssetKey("model")]
    outcome = materialise_stale(patient(), instance, lambda progress: None, changed=changed)
    assert [str(target) for target in outcome.made] == ["model", "predictions"]


def test_what_depends_on_a_failed_blocking_check_waits_and_is_made_later(instance: dg.DagsterInstance):
    outcome = materialise_stale(graph(passes=False), instance, lambda progress: None)
    assert sorted(str(target) for target in outcome.made) == ["aside", "source"]
    assert sorted(str(target) for target in outcome.waiting) == sorted(LINE[1:])
    assert not outcome.is_complete
    assert sorted(refresh(graph(), instance)) == sorted(LINE)


def test_a_failure_names_its_reason_and_what_does_not_need_it_is_made(instance: dg.DagsterInstance):
    heard: list[Progress] = []
    outcome = materialise_stale(graph(breaks=True), instance, heard.append)
    assert [str(target) for target in outcome.made] == ["aside"]
    assert "the vendor is down" in outcome.failures["source"]
    assert [progress.failure for progress in heard if progress.failure] == [outcome.failures["source"]]
    assert sorted(refresh(graph(), instance)) == sorted(LINE)


def test_a_failure_in_a_partition_stops_what_needs_it_only(instance: dg.DagsterInstance):
    @dg.asset(partitions_def=SIZES, code_version="1")
    def fragile(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        if context.partition_key == "large":
            raise RuntimeError("too large")
        return dg.MaterializeResult()

    @dg.asset(deps=[dg.AssetDep(fragile, partition_mapping=dg.AllPartitionMapping())], code_version="1")
    def total() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    outcome = materialise_stale(dg.Definitions(assets=[fragile, total]), instance, lambda progress: None)
    assert [str(target) for target in outcome.made] == ["fragile[small]"]
    assert list(outcome.failures) == ["fragile[large]"]
    assert [str(target) for target in outcome.waiting] == ["total"]
