"""Elastic training: one loop from one CPU process to many GPU nodes, whose workers may come and go."""
