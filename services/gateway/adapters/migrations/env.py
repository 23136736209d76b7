"""Run by alembic: applies the migrations over the connection it was given."""

from alembic import context

from services.gateway.adapters.database import MIGRATIONS, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=MIGRATIONS.version_table,
    version_table_schema=MIGRATIONS.schema,
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
