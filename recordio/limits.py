"""Every bound on what comes from outside, in one place, each with its reason.

A bound is on what a file, a request or a model asks for by its own claim: bytes, digits, depth, members, pixels,
seconds. What the platform or the machine says (``SAGEMAKER_MAX_PAYLOAD_IN_MB``, the memory of a container) is not here.
"""

# ---- text: CSV, LIBSVM, JSON -----------------------------------------------------------------------------------------

# ---- RecordIO frames and messages ------------------------------------------------------------------------------------

# ---- compressed input ------------------------------------------------------------------------------------------------

# ---- images ----------------------------------------------------------------------------------------------------------

MOST_IMAGE_PIXELS = 1 << 26
"""Pixels of an image as it is decoded: above those of cameras that save other kinds than JPEG."""

MOST_JPEG_PIXELS = 1 << 28
"""Pixels of a JPEG file, which may be decoded at an eighth of its size: beyond the 200 megapixels of phones."""

MOST_IMAGE_SIDE = 1 << 16
"""Pixels of a side; JPEG and GIF end there. An image of one row of millions is of no use, and scaling it takes
gigabytes."""

MOST_DECODING_BYTES = 1 << 29
"""Bytes that decoding one image may take. A pixel of RGB takes 4, one of WebP 16, so this is the bound that a small
file of many pixels meets: 67 megapixels of PNG and 33 of WebP pass."""

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
"""Bytes of memory that a model's file may ask for by what it says, for each byte that it has: XGBoost's trees, sparse
arrays that become dense, what a network computes."""

LEAST_MODEL_MEMORY = 64 * 1024 * 1024
"""Bytes of memory that any model may ask for, however small its file."""

ARCHIVE_EXPANSION = 16
"""Bytes that a compressed archive of arrays may become for each of its own, besides ``LEAST_MODEL_MEMORY``. Weights
that are mostly zero shrink a lot, other weights hardly."""

MOST_NETWORK_OPERATIONS = 2**40
"""Multiplications and additions of a network for one image: a minute on a core. ResNet-152 on 1,024 by 1,024 pixels
takes a quarter of it."""

NETWORK_MEMORY_PER_PIXEL = 64
"""Bytes that a network may take for each pixel of its input, besides what the size of its file allows: the narrowest
ResNet, whose file has 1 MB, takes 40."""

MOST_BEAM_NUMBERS = 2**26
"""Numbers that a beam search lays out at a time, 256 MB: a model may state any width, and 5 is common."""

MOST_PICKLE_CALLS = 4
"""Calls of functions in a pickled Booster: one or two make it, and one or two its bytes. Each may copy all bytes."""

# ---- requests and connections ----------------------------------------------------------------------------------------

# ---- log lines and messages ------------------------------------------------------------------------------------------
