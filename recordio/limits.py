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

# ---- images ----------------------------------------------------------------------------------------------------------

MOST_IMAGE_PIXELS = 1 << 26
"""Pixels of an image as it is decoded: above those of cameras that save other kinds than JPEG."""

MOST_JPEG_PIXELS = 1 << 28
"""Pixels of a JPEG file, which may be decoded at an eighth of its size: beyond the 200 megapixels of phones."""

MOST_IMAGE_SIDE = 1 << 16
"""Pixels of a side; JPEG and GIF end there. An image of one row of millions is of no use, and scaling it takes
gigabytes."""

MOST_DECODING_AT_ONCE = 1 << 30
"""Bytes that all images may take which a process decodes side by side; the next one waits for room."""

MOST_DECODING_BYTES = 3 << 27
"""Bytes that decoding one image may take. A pixel of RGB takes 4, one of WebP 16, so this is the bound that a small
file of many pixels meets: 67 megapixels of PNG and 25 of WebP pass."""

# ---- model files and archives ----------------------------------------------------------------------------------------

LARGEST_CHECKPOINT = 1 << 30
"""Bytes of a checkpoint that ``oba pretrained`` fetches: MXNet's largest, of 200 layers, has a quarter of it."""

LONGEST_ARRAYS_HEADER = 1 << 22
"""Bytes of the header of a safetensors file, which becomes some twenty times as many of objects: that of ResNet-152,
with 932 arrays, has less than 100,000."""

MOST_TRAINED_NODES = 2_000
"""Operators of a network that training starts from, those with parameters and those without, and values that they take:
Keras takes milliseconds for each. The deepest networks of MXNet's model zoo have 720."""

MOST_NORMALISED_CHANNELS = 4096
"""Channels that an LRN of a network may take: training reckons with a matrix of all of them by all. Networks that have
one have 64 to 256."""

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

WIDEST_BEAM = 10_000
"""Hypotheses of a beam search, however small they are: with a vocabulary of ten tokens, those that memory has room for
took a minute."""

MOST_PICKLE_CALLS = 4
"""Calls of functions in a pickled Booster: one or two make it, and one or two its bytes. Each may copy all bytes."""

MOST_PICKLE_TUPLES = 1000
"""Tuples in a pickled Booster: each call has one, and attributes may be some. Tuples that are 300,000 deep end the
process where their hash is asked for: it is reckoned on the stack."""

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

# ---- hosts that train together ---------------------------------------------------------------------------------------

MOST_HOSTS = 100
"""Hosts of a job: SageMaker's own limit for most algorithms, and what the leader keeps a connection to."""

LONGEST_MEETING_LINE = 1 << 16
"""Bytes of a message between hosts about the job itself: a failure of 1,024 characters, or the digest of each of a
hundred hyperparameters."""

HELLO_SECONDS = 10
"""Until a connection to the leader must have said which host it is of; a host says so in its first packet."""

MOST_STRANGERS = 64
"""Connections to the leader that have not said yet which host they are of; of more, the oldest is closed."""

# ---- log lines and messages ------------------------------------------------------------------------------------------

QUOTED_CHARACTERS = 200
"""Of a value in a message: enough to know it again, too few to bury the sentence around it."""
LOGGED_CHARACTERS = 1_000
"""Of a hyperparameter in the lines of the configuration: a list of a hundred feature names still shows whole."""
LINE_CHARACTERS = 16_384
"""Of a log line: Docker cuts what is longer into pieces of 16 KiB."""
FAILURE_CHARACTERS = 1_024
"""Of the failure file: SageMaker shows no more of it."""

# ---- checkpoints of a training job -----------------------------------------------------------------------------------

MOST_CHECKPOINT_ARRAYS = 100_000
"""Members of a checkpoint's file: the largest networks have some hundred variables, with two moments each."""

MOST_CHECKPOINT_DOCUMENT = 64 << 20
"""Bytes of its JSON document, which has the values of every metric so far: a million of them take some 30 MB."""

# ---- the local SageMaker ---------------------------------------------------------------------------------------------

LARGEST_CALL = 1 << 27
"""Bytes of a request to ``oba up``: InvokeEndpoint's bodies are the largest, of 25 MB on SageMaker."""
