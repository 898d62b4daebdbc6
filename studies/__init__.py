"""What was tried: ablations, perceptual losses, iterative prediction. Each writes its page beside its script."""
