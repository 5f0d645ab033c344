"""The workflow language and its meaning: pure values and functions, no I/O, no clock, no asyncio."""
