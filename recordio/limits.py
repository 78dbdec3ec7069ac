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

DEEPEST_TREE = 10_000
"""Levels of a tree in an XGBoost model. Its own code walks trees by recursion, and 300,000 levels end the process."""

MOST_CLASSES_WITHOUT_TREES = 10_000
"""Outputs of an XGBoost model that has fewer trees than outputs: a trained one has a tree for each in every round."""

MOST_FEATURES = 2**26
"""Features of an XGBoost model: to predict, it lays each row out in 4 bytes a feature, whatever the row holds."""

PREDICTION_MEMORY = 2**28
"""Bytes in which XGBoost may lay out the sparse rows of one request at a time."""

MODEL_MEMORY_PER_BYTE = 64
"""Bytes of memory that an XGBoost model's file may ask for by what it says, for each byte that it has."""

LEAST_MODEL_MEMORY = 64 * 1024 * 1024
"""Bytes of memory that any XGBoost model may ask for, however small its file."""

MOST_PICKLE_CALLS = 4
"""Calls of functions in a pickled Booster: one or two make it, and one or two its bytes. Each may copy all bytes."""

# ---- requests and connections ----------------------------------------------------------------------------------------

# ---- log lines and messages ------------------------------------------------------------------------------------------
