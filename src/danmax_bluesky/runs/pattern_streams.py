"""The streams of a run of patterns, which the integration documents while it writes them to a file.

The run refers by `derived_from` to the run whose frames are integrated, and by `recipe` to the recipe. It has two
streams with a row for each pattern, in the order in which the frames were measured:

- `patterns` are rows of the file of patterns. Each layout, such as "azint1d", is an object of the descriptor. Its keys
  are the intensity and, if the recipe has errors, the errors.
- `integrals` are events: the integral parameters of each pattern, and the keys that are named here.
"""

PATTERNS = "patterns"
INTEGRALS = "integrals"
FRAME_NUMBER = "frame_number"
"""Number of the frame in the detector's file, counted from 0."""
FRAME_TIME = "frame_time"
"""When the frame was taken, POSIX seconds; NaN where the detector does not say it."""
FRAMES_WAITING = "frames_waiting"
"""How many frames were measured and not yet integrated when the pattern was written."""
DOCUMENTS = "documents"
"""Key of the start document: path of the journal in which the documents of the run are; absent if it has none."""
