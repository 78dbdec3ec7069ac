"""What a training job needs of the contract: configuration, channels, log lines, the artifact."""
