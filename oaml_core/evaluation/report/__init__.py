"""Write the HTML report: tables, charts and pictures."""
