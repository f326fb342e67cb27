"""Geo and AS databases: the networks of countries, regions, continents and autonomous systems."""
