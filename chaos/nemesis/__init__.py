"""The nemesis: real processes of a cluster, faults from a timeline, and a record of everything seen.

What stands here adds to what the loops beside it share already; so their folders are on the path:
chaos/ (export, packet_drop, workload) and tests/e2e/ (sites, network, client).
"""
import os
import sys

CHAOS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(CHAOS)
for folder in (CHAOS, os.path.join(ROOT, "tests", "e2e")):
    if folder not in sys.path:
        sys.path.insert(0, folder)
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
