from datetime import UTC, date, datetime, timedelta

from mlops_assets.market_data.bars import BAR_COLUMNS, arrow_schema, build_bars, to_table
from mlops_assets.market_data.quarantine import QUARANTINE_COLUMNS
from tests.market_data.rows import SCHEDULE, judge


def bars():
    accepted = judge(
        {"symbol": "SP500", "date": date(2020, 1, 3)}, {"symbol": "AAA", "date": date(2020, 1, 3)}, {"symbol": "AAA"}
    ).accepted
    return build_bars(
        accepted, schedule=SCHEDULE, publication_lag=timedelta(minutes=90), index_symbols=frozenset({"SP500"})
    )


def test_bars_are_sorted_by_symbol_and_date():
    assert bars().select("symbol", "date").rows() == [
        ("AAA", date(2020, 1, 2)),
        ("AAA", date(2020, 1, 3)),
        ("SP500", date(2020, 1, 3)),
    ]


def test_a_bar_happens_at_the_close_and_is_known_after_the_publication_lag():
    first = bars().row(0, named=True)
    assert first["event_at"] == datetime(2020, 1, 2, 21, 0, tzinfo=UTC)
    assert first["known_at"] == datetime(2020, 1, 2, 22, 30, tzinfo=UTC)


def test_an_index_is_marked_as_such():
    assert bars()["is_index"].to_list() == [False, False, True]


def test_the_stored_table_has_exactly_the_declared_columns_and_types():
    table = to_table(bars(), BAR_COLUMNS)
    assert table.schema == arrow_schema(BAR_COLUMNS)
    assert [(field.name, str(field.type), field.nullable) for field in table.schema] == [
        ("symbol", "string", False),
        ("date", "date32[day]", False),
        ("event_at", "timestamp[us, tz=UTC]", False),
        ("known_at", "timestamp[us, tz=UTC]", False),
        ("open", "double", True),
        ("high", "double", True),
        ("low", "double", True),
        ("close", "double", True),
        ("adjusted_close", "double", False),
        ("volume", "int64", True),
        ("dividend_amount", "double", True),
        ("split_coefficient", "double", True),
        ("is_index", "bool", False),
    ]


def test_the_quarantine_table_has_exactly_the_declared_columns():
    table = to_table(judge({"symbol": None}).quarantined, QUARANTINE_COLUMNS)
    assert table.schema == arrow_schema(QUARANTINE_COLUMNS)
    assert table.num_rows == 1
