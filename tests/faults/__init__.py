"""One promise after the other against every fault that a call can meet: sweeps of scenarios, and random schedules."""
