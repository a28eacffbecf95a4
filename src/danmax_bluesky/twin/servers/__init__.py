"""The twin as real servers: Tango for motors, shutter, cameras and counters, PVAccess for the PandA, one world."""
