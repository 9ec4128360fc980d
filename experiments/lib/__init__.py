"""What all experiments share: command line, scales, cells, trainings, and how a result is shown."""
