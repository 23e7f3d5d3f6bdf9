"""When the daemon would run what: conditions evaluated on an instance, as its sensor does."""

import dagster as dg
import pytest

from mlops_assets.orchestration.timing import (
    check_when_refreshed,
    refresh_on_cadence,
    refresh_when_any_input_changes,
    refresh_when_inputs_change,
)

A, B, C = (dg.AssetKey(name) for name in "abc")
CHECK = dg.AssetCheckKey(B, "is_good")


def graph(content: str = "1", *, code: str = "1", passes: bool = True) -> dg.Definitions:
    """Return a → b (with a blocking check) → c; `content` is what each of them makes."""

    def made() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content))

    @dg.asset(code_version="1")
    def a() -> dg.MaterializeResult:
        return made()

    @dg.asset(deps=[a], code_version=code, automation_condition=refresh_when_inputs_change())
    def b() -> dg.MaterializeResult:
        return made()

    @dg.asset_check(asset=b, blocking=True, automation_condition=check_when_refreshed())
    def is_good() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passes)

    @dg.asset(deps=[b], code_version="1", automation_condition=refresh_when_inputs_change())
    def c() -> dg.MaterializeResult:
        return made()

    return dg.Definitions(assets=[a, b, c], asset_checks=[is_good])


class Daemon:
    """Evaluates conditions with a cursor and says what it would ask for; `run` materialises without it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance, self._cursor = instance, None

    def tick(self, definitions: dg.Definitions) -> set[object]:
        found = dg.evaluate_automation_conditions(definitions, instance=self._instance, cursor=self._cursor)
        self._cursor = found.cursor
        return {one.key for one in found.results if not one.true_subset.is_empty}

    def run(self, definitions: dg.Definitions, *names: str) -> None:
        keys = [dg.AssetKey(name) for name in names]
        job = definitions.resolve_implicit_job_def_def_for_assets(keys)
        assert job is not None
        job.execute_in_process(instance=self._instance, asset_selection=keys, raise_on_error=False)


@pytest.fixture
def daemon():
    with dg.instance_for_test() as instance:
        made = Daemon(instance)
        made.run(graph(), "a", "b", "c")
        assert made.tick(graph()) == set()
        yield made


def test_nothing_runs_while_nothing_changes(daemon: Daemon):
    assert daemon.tick(graph()) == set()


def test_an_input_made_again_with_the_same_content_starts_nothing(daemon: Daemon):
    daemon.run(graph(), "a")
    assert daemon.tick(graph()) == set()


def test_new_content_runs_everything_that_follows_with_its_checks(daemon: Daemon):
    daemon.run(graph("2"), "a")
    assert daemon.tick(graph("2")) == {B, C, CHECK}
    daemon.run(graph("2"), "b", "c")
    assert daemon.tick(graph("2")) == set()


def test_new_code_runs_its_asset_and_what_follows(daemon: Daemon):
    assert daemon.tick(graph(code="2")) == {B, C, CHECK}


def test_a_failed_blocking_check_holds_back_what_follows(daemon: Daemon):
    daemon.run(graph("2", passes=False), "b")
    assert daemon.tick(graph("2")) == set()


def test_an_asset_that_looks_at_what_there_is_does_not_wait_for_a_missing_input():
    def definitions(content: str) -> dg.Definitions:
        @dg.asset
        def there() -> dg.MaterializeResult:
            return dg.MaterializeResult(data_version=dg.DataVersion(content))

        @dg.asset
        def never() -> None: ...

        @dg.asset(deps=[there, never], automation_condition=refresh_when_any_input_changes())
        def looks() -> None: ...

        return dg.Definitions(assets=[there, never, looks])

    with dg.instance_for_test() as instance:
        daemon = Daemon(instance)
        daemon.run(definitions("1"), "there", "looks")
        daemon.tick(definitions("1"))
        daemon.run(definitions("2"), "there")
        assert daemon.tick(definitions("2")) == {dg.AssetKey("looks")}


def trained(content: str = "1", *, data_code: str = "1", model_code: str = "1") -> dg.Definitions:
    """Return a → b, and b waits for its cadence."""

    @dg.asset(code_version=data_code)
    def a() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content))

    @dg.asset(deps=[a], code_version=model_code, automation_condition=refresh_on_cadence())
    def b() -> dg.MaterializeResult:
        return dg.MaterializeResult(data_version=dg.DataVersion(content))

    return dg.Definitions(assets=[a, b])


@pytest.fixture
def trainer():
    with dg.instance_for_test() as instance:
        made = Daemon(instance)
        made.run(trained(), "a", "b")
        assert made.tick(trained()) == set()
        yield made


def test_new_content_waits_for_the_cadence(trainer: Daemon):
    trainer.run(trained("2"), "a")
    assert trainer.tick(trained("2")) == set()


def test_what_was_never_made_is_made_when_its_input_is_there():
    with dg.instance_for_test() as instance:
        daemon = Daemon(instance)
        assert daemon.tick(trained()) == set()
        daemon.run(trained(), "a")
        assert daemon.tick(trained()) == {B}


def test_a_changed_declaration_does_not_wait(trainer: Daemon):
    assert trainer.tick(trained(model_code="2")) == {B}


def test_an_input_of_other_code_does_not_wait(trainer: Daemon):
    assert trainer.tick(trained(data_code="2")) == {B}
