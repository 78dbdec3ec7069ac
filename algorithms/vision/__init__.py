"""What image algorithms share: decoding, augmentation, execution of a checkpoint."""
