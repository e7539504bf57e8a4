"""Hardware components, written in Amaranth; each beside the software model it equals."""
