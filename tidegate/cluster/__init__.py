"""What a Kubernetes cluster has, asked by `kubectl`, and what Tidegate needs of it."""
