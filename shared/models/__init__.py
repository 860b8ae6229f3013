"""What backends of models share: where they run, how they are fed, the embedded weights, vectors."""
