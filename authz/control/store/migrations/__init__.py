"""Migrations of the store, forward and back, by Alembic."""
