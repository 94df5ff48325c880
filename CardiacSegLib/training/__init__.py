"""Training: data sets, samples, augmentation, losses, and one loop for all networks; inference never imports it."""
