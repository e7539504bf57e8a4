"""Network file to IR, refusing what cannot be executed exactly, by name."""
