"""Techniques that act at inference."""
