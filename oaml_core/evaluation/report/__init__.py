"""Write the HTML report: tables, charts and pictures."""

__all__ = [
    "pictures",
    "report",
]
