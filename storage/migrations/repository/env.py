"""Run by Alembic: the revisions of the repository's schema, over the connection given by ``storage.schema``."""

from alembic import context

from storage.tables import repository_metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table="repository_schema", transactional_ddl=True,
    target_metadata=repository_metadata,
)
with context.begin_transaction():
    context.run_migrations()
