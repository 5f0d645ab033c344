"""`make chaos`: rounds of traffic against real pods while a nemesis breaks them, each checked afterwards; then one table."""
