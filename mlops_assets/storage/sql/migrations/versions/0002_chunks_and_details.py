"""Snapshots of several files, in order and with their bounds in time, and what more is said of a snapshot."""

import sqlalchemy as sa
from alembic import op

from mlops_assets.storage.sql.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("snapshot", sa.Column("details", sa.JSON(), nullable=False, server_default="{}"))
    # Every snapshot so far has one file.
    op.add_column("snapshot_file", sa.Column("position", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("snapshot_file", sa.Column("first_at", UtcDateTime(), nullable=True))
    op.add_column("snapshot_file", sa.Column("last_at", UtcDateTime(), nullable=True))


def downgrade() -> None:
    for name in ("last_at", "first_at", "position"):
        op.drop_column("snapshot_file", name)
    op.drop_column("snapshot", "details")
