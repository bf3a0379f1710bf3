"""What models are worth: metrics, statistics, run folders, plots."""
