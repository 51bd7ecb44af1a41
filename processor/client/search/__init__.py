"""How a client finds runs, and reads tables of users."""

from processor.client.search.listing import ListsRuns
from processor.client.search.tables import ReadsTables

__all__ = ("ListsRuns", "ReadsTables")
