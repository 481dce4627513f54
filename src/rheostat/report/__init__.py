"""Pictures, tables and pages that show measurements: no torch, no transformers."""
