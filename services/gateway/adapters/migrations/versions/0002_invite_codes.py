"""Invite codes of organizations, and who used them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "gateway"


def upgrade() -> None:
    op.create_table(
        "invite_codes",
        sa.Column("organization_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("owner_id", UUID(as_uuid=False), primary_key=True),
        sa.Column("code_name", sa.Text, unique=True),
        sa.Column("ciphertext", sa.LargeBinary),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("max_uses", sa.Integer, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "invite_uses",
        sa.Column(
            "code_name",
            sa.Text,
            sa.ForeignKey(
                f"{SCHEMA}.invite_codes.code_name", ondelete="CASCADE", onupdate="CASCADE"
            ),
            primary_key=True,
        ),
        sa.Column("user_id", UUID(as_uuid=False), primary_key=True),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for name in ("invite_uses", "invite_codes"):
        op.drop_table(name, schema=SCHEMA)
