"""Events of the bus for browsers: each gets those that its person may see, at its own pace."""
