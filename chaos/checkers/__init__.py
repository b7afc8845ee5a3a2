"""Claims about a cluster's history, one module each, and the model of the ledger that they lean on.

A history is what clients, operators and an observer outside wrote down while a cluster was attacked
(history.py). Nothing here imports code of the ledger, or of whoever did the attacking: what a rule
means is written again from the documents, so that a mistake in one place shows against the other.
docs/checkers.md lists every claim, what it reads and what it cannot see.
"""
