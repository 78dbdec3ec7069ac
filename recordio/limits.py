"""Every bound on what comes from outside, in one place, each with its reason.

A bound is on what a file, a request or a model asks for by its own claim: bytes, digits, depth, members, pixels,
seconds. What the platform or the machine says (``SAGEMAKER_MAX_PAYLOAD_IN_MB``, the memory of a container) is not here.
"""

# ---- text: CSV, LIBSVM, JSON -----------------------------------------------------------------------------------------

# ---- RecordIO frames and messages ------------------------------------------------------------------------------------

# ---- compressed input ------------------------------------------------------------------------------------------------

# ---- images ----------------------------------------------------------------------------------------------------------

# ---- model files and archives ----------------------------------------------------------------------------------------

MOST_EXPANSION = 64
"""Bytes that a compressed model archive may become for each of its own. Weights that are mostly zero shrink a lot,
others hardly; a bomb is above 500."""

MOST_UNPACKED_ANYWAY = 1 << 30
"""Bytes that any model archive may become, however small it is."""

MOST_MEMBERS = 10_000
"""Files in a model archive; the models here have up to some hundred checkpoints."""

DEEPEST_MEMBER = 32
"""Levels of folders in a model archive; SageMaker's have one or two."""

LONGEST_MEMBER_HEADER = 1 << 20
"""Bytes of the headers of one member of an archive, extended ones with it: a path takes 4 KiB at most."""

# ---- requests and connections ----------------------------------------------------------------------------------------

LONGEST_HEAD = 1 << 16
"""Bytes of a request's line and headers; SageMaker's are a few hundred, and other servers take 8 to 64 KiB."""

LONGEST_CHUNK_LINE = 8192
"""Bytes of the line that states a chunk's size, with its extensions, which no client is known to send."""

LONGEST_TRAILERS = 1 << 16
"""Bytes of the headers after the last chunk; no client is known to send any."""

HEAD_SECONDS = 10
"""From a request's first byte to the end of its headers. A client that is alive sends them in one piece."""

STALL_SECONDS = 20
"""Between two pieces of a body, or of an answer that the client reads. Packets that were lost are sent again in 1, 3, 7
and 15 s, so a connection that lives moves within these."""

MOST_CONNECTIONS = 8192
"""Open connections of a server process, if the limit on open files allows. Each idle one takes some 3 KiB."""

LONGEST_DRAINED = 256 << 20
"""Bytes of a body over the payload limit that are read and dropped before the connection is closed: a client looks for
the answer only when it has sent all. SageMaker sends 100 MB at most."""

# ---- log lines and messages ------------------------------------------------------------------------------------------
