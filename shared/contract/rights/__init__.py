"""Rights on the server: of apps, of services, and as nats-server's configuration."""
