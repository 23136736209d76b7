"""When an environment was asked for last, so that what nobody needs any more can go."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCHEMA = "gateway"


def upgrade() -> None:
    # Those that are there already count as just used.
    op.add_column(
        "sealed_environments",
        sa.Column(
            "used_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_column("sealed_environments", "used_at", schema=SCHEMA)
