"""A pool of worker processes, scaled by the shipped ScaledObjects as KEDA and the HPA would."""
