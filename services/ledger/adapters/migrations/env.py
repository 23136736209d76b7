"""How alembic runs the ledger's migrations: on the connection it is handed, in its transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="ledger_alembic_version",
    version_table_schema="public",
)
with context.begin_transaction():
    context.run_migrations()
