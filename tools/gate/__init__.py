"""What the gate, .ci/run, needs to decide: which failures are flakes, and which slow tests stand for which risk."""
