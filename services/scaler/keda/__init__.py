"""A ScaledObject, and what KEDA and the HPA make of it. Pure, but for reading the file."""
