"""Accounts, refresh tokens and sealed environments."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "gateway"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", UUID(as_uuid=False), primary_key=True),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False, unique=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        _created_at(),
        sa.CheckConstraint("role IN ('user', 'admin')", name="users_role_known"),
        schema=SCHEMA,
    )
    op.create_table(
        "refresh_families",
        sa.Column("id", UUID(as_uuid=False), primary_key=True),
        sa.Column(
            "user_id",
            UUID(as_uuid=False),
            sa.ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("token_digest", sa.LargeBinary, primary_key=True),
        sa.Column(
            "family_id",
            UUID(as_uuid=False),
            sa.ForeignKey(f"{SCHEMA}.refresh_families.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        schema=SCHEMA,
    )
    op.create_table(
        "sealed_environments",
        sa.Column("env_key", sa.Text, primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        _created_at(),
        schema=SCHEMA,
    )


def _created_at() -> "sa.Column[datetime]":
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    )


def downgrade() -> None:
    for name in ("sealed_environments", "refresh_tokens", "refresh_families", "users"):
        op.drop_table(name, schema=SCHEMA)
