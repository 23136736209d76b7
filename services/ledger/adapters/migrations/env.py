"""How alembic runs the ledger's migrations: on the connection it is handed, in its transaction."""

from alembic import context

from services.ledger.adapters.database import MIGRATIONS

context.configure(
    connection=context.config.attributes["connection"],
    version_table=MIGRATIONS.version_table,
    version_table_schema=MIGRATIONS.schema,
)
with context.begin_transaction():
    context.run_migrations()
