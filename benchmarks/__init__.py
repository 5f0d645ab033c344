"""Measurements of one pod on this machine, as one table: `python -m benchmarks`, or `make bench`.

Each claim has a file of its own that says what is claimed, how it is measured, and under which conditions. Every repetition first runs
the reference on the same server (`benchmarks.reference`), then the pod: on a noisy machine the ratio says more than the figure. Speed is
printed, never asserted: the exit status is 0 unless something broke.
"""
