"""The state of a Kubernetes cluster, from `kubectl`, and what Tidegate needs of it."""
