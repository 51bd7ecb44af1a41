"""How a client finds runs."""

from processor.client.search.listing import ListsRuns

__all__ = ("ListsRuns",)
