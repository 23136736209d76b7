"""Service accounts of organizations, and their tokens."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "gateway"


def upgrade() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("id", UUID(as_uuid=False), primary_key=True),
        sa.Column("organization_id", sa.BigInteger, nullable=False),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.UniqueConstraint(
            "organization_id", "owner_id", "name", name="service_accounts_named_once"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", UUID(as_uuid=False), primary_key=True),
        sa.Column(
            "account_id",
            UUID(as_uuid=False),
            sa.ForeignKey(f"{SCHEMA}.service_accounts.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("token_digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_by", UUID(as_uuid=False), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("request", sa.Text, nullable=False, unique=True),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for name in ("api_tokens", "service_accounts"):
        op.drop_table(name, schema=SCHEMA)
