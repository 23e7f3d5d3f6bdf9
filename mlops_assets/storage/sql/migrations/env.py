"""Run by Alembic: migrations happen on the connection that `Database.migrate` hands over."""

from alembic import context

from mlops_assets.storage.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    transaction_per_migration=False,
)
context.run_migrations()
