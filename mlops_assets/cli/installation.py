"""Which installation a command works on: the settings of the environment and the services over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from mlops_assets.services import ServiceFactory


class StoreUnavailable(PlatformError):
    """The stores are not there yet or do not answer."""

    code: ClassVar[str] = "store_unavailable"


def services_of(settings: Settings | None = None) -> ServiceFactory:
    """Return the services over stores that are there. What it needs is imported here: `--help` is there at once.

    Raises:
        StoreUnavailable: if nothing was prepared yet, or the database does not answer.
    """
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    from mlops_assets.services import ServiceFactory

    services = ServiceFactory(settings or load_settings())
    home = services.settings.home
    if not home.is_dir():
        raise StoreUnavailable(f"Nothing is prepared in {home}. Run `python3 -m mlops_assets up` first.")
    try:
        with services.database.read() as connection:
            connection.execute(sa.text("SELECT count(*) FROM ledger_entry WHERE seq < 2"))
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise StoreUnavailable(
            f"The database of {home} does not answer: {reason}. `python3 -m mlops_assets up` prepares it, "
            "`mlops doctor` says what else is wrong."
        ) from error
    return services
