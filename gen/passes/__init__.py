"""Rewrites of the IR, one per file; ``PIPELINE`` is the order they run in."""
