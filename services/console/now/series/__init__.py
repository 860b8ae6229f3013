"""Series of each service over time: the console's own of the last week, or those of Prometheus."""
