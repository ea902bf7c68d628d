"""The simulated centre: instruments with known errors and injected faults, for the demo, tests and benches."""
