"""The ledger: the local durable store, the truth."""
