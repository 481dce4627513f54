"""The search: it proposes configurations, measures them, and returns the best ones."""
