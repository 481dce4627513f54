"""Techniques of the finetuning stage."""
