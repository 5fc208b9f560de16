"""Run by Alembic: the revisions of the registry's schema, over the connection given by ``storage.schema``."""

from alembic import context

from storage.tables import registry_metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table="registry_schema", transactional_ddl=True,
    target_metadata=registry_metadata,
)
with context.begin_transaction():
    context.run_migrations()
