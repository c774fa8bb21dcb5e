"""What Alembic runs; the connection is given by `Records.migrate`."""

from alembic import context

from serving.gateway.records.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
