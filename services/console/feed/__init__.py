"""What is said on the bus, handed to browsers: each gets what its person may see, at its own pace."""
