"""What generator and driver agree on about the manifest, which describes the files beside it."""

MANIFEST = "manifest.json"
"""Its file's name, by which Heddle also knows a folder it made."""

FORMAT = 2
"""Rises when a field of the manifest changes its meaning."""
