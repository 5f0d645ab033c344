"""One module for each group of invariants of RELIABILITY 4a."""
