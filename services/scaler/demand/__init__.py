"""How many replicas a consumer's work needs: arrivals, a forecast and the rate of a replica into a demand. Pure."""
