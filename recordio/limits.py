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
