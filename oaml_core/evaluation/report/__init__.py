"""Write the HTML report: tables, charts and pictures."""

__all__ = [
    "charts",
    "finding",
    "pictures",
    "report",
]
