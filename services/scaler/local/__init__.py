"""KEDA and the HPA on one machine: a pool of processes, and the loop that scales it."""
