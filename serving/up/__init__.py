"""Everything on one machine, as plain processes."""
