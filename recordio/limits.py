"""Every bound on what comes from outside, in one place, each with its reason.

A bound is on what a file, a request or a model asks for by its own claim: bytes, digits, depth, members, pixels,
seconds. What the platform or the machine says (``SAGEMAKER_MAX_PAYLOAD_IN_MB``, the memory of a container) is not here.
"""

# ---- text: CSV, LIBSVM, JSON -----------------------------------------------------------------------------------------

LINE_LIMIT = 1 << 28
"""Longest line in bytes. Text without line ends is not rows, and must not fill the memory."""

LONGEST_NUMBER = 120
"""Significant digits of a number that are looked at; of the rest, only whether all are zero. The half between two
float32 has at most 113 digits, so more cannot change what is nearest. ``_float32.h`` has the same bound."""

LARGEST_EXPONENT = 10**12
"""Where the exponent of a number is clipped: beyond the length of any line, so that it changes no number."""

LONGEST_INTEGER = 19
"""Digits of an integer, leading zeros aside: as many as an int64 can have."""

# ---- RecordIO frames and messages ------------------------------------------------------------------------------------

# ---- compressed input ------------------------------------------------------------------------------------------------

# ---- images ----------------------------------------------------------------------------------------------------------

# ---- model files and archives ----------------------------------------------------------------------------------------

# ---- requests and connections ----------------------------------------------------------------------------------------

# ---- log lines and messages ------------------------------------------------------------------------------------------
