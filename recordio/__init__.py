"""Bytes to batches of rows, and back: RecordIO-protobuf, CSV, LIBSVM, Parquet and JSON; files, FIFOs and requests.

The lowest layer: it knows nothing of algorithms, of HTTP or of /opt/ml.
"""
