"""Every bound on what comes from outside, in one place, each with its reason.

A bound is on what a file, a request or a model asks for by its own claim: bytes, digits, depth, members, pixels,
seconds. What the platform or the machine says (``SAGEMAKER_MAX_PAYLOAD_IN_MB``, the memory of a container) is not here.
"""

# ---- text: CSV, LIBSVM, JSON -----------------------------------------------------------------------------------------

# ---- RecordIO frames and messages ------------------------------------------------------------------------------------

# ---- compressed input ------------------------------------------------------------------------------------------------

# ---- images ----------------------------------------------------------------------------------------------------------

# ---- model files and archives ----------------------------------------------------------------------------------------

# ---- requests and connections ----------------------------------------------------------------------------------------

# ---- log lines and messages ------------------------------------------------------------------------------------------

QUOTED_CHARACTERS = 200
"""Of a value in a message: enough to know it again, too few to bury the sentence around it."""
LOGGED_CHARACTERS = 1_000
"""Of a hyperparameter in the lines of the configuration: a list of a hundred feature names still shows whole."""
LINE_CHARACTERS = 16_384
"""Of a log line: Docker cuts what is longer into pieces of 16 KiB."""
FAILURE_CHARACTERS = 1_024
"""Of the failure file: SageMaker shows no more of it."""
