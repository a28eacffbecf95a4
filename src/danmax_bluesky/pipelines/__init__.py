"""Heavy work on frames, outside the RunEngine's process."""
