"""Write the HTML report: tables, charts and pictures."""

__all__ = [
    "finding",
    "pictures",
    "report",
]
