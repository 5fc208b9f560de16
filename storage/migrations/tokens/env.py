"""Run by Alembic: the revisions of the token service's schema, over the connection given by ``storage.schema``."""

from alembic import context

from storage.tables import tokens_metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table="tokens_schema", transactional_ddl=True,
    target_metadata=tokens_metadata,
)
with context.begin_transaction():
    context.run_migrations()
