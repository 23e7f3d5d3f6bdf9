import subprocess
import sys
from datetime import UTC, date, datetime

from mlops_assets.market_data.ingestion import ingest
from mlops_assets.market_data.sample import BundledSample
from tests.market_data.rows import CALENDAR

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def silent(_: str) -> None: ...


def test_the_sample_is_twenty_stocks_and_their_index_through_2008_and_2020():
    read = ingest(BundledSample(), CALENDAR, as_of=NOW, progress=silent)
    assert read.bars.height == 21 * 8313
    assert read.bars["symbol"].n_unique() == 21
    assert read.bars.filter("is_index")["symbol"].unique().to_list() == ["SP500"]
    assert (read.bars["date"].min(), read.bars["date"].max()) == (date(1990, 1, 2), date(2022, 12, 28))


def test_the_sample_passes_validation_whole_and_its_two_great_jumps_are_reported():
    validation = ingest(BundledSample(), CALENDAR, as_of=NOW, progress=silent).validation
    assert (validation.quarantined.height, validation.identical_duplicates, validation.gaps.height) == (0, 0, 0)
    # Apple's profit warning of 28 September 2000 halved its price.
    assert ("AAPL", date(2000, 9, 29)) in validation.suspicions.select("symbol", "date").rows()
    assert validation.suspicions.height == 2


def test_the_index_fell_as_it_did_on_16_march_2020():
    rows = ingest(BundledSample(), CALENDAR, as_of=NOW, progress=silent).bars
    index = dict(rows.filter("is_index").select("date", "adjusted_close").iter_rows())
    assert round(index[date(2020, 3, 16)] / index[date(2020, 3, 13)] - 1, 4) == -0.1198


def test_the_fingerprint_is_that_of_the_content_read():
    sample = BundledSample()
    assert sample.fetch(silent).fingerprint == sample.fingerprint() == BundledSample().fingerprint()


def test_the_sample_says_where_its_history_ends_and_which_licence_it_has():
    assert BundledSample().history_ends() == date(2022, 12, 28)
    assert "BSD 3-Clause" in BundledSample().description


def test_reading_the_sample_does_not_import_the_package_that_carries_it():
    code = (
        "import sys; from mlops_assets.market_data.sample import BundledSample;"
        "heavy = {'skfolio', 'pandas', 'pyarrow', 'exchange_calendars', 'httpx'} & set(sys.modules);"
        "assert not heavy, heavy; BundledSample().fetch(lambda _: None); assert 'skfolio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
