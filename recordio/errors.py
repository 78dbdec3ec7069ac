"""What can be wrong with input data, as a tree.

    DataError
    ├── ContentTypeError            the content type is malformed, or no reader knows it
    ├── CompressedDataError         gzip data is damaged or ends early
    ├── EmptyDataError              there is no row where at least one is needed
    ├── FrameError                  RecordIO framing
    │   ├── BadMagicError           a frame does not start with the magic word
    │   └── TruncatedRecordError    the stream ends inside a frame, or a length runs past the end
    ├── RecordError                 the protobuf inside a frame is malformed, or of an unusable kind
    ├── ImageError                  an image, or a record of one, cannot be read
    ├── ParseError                  text (CSV, LIBSVM, JSON) or Parquet that cannot be read as rows
    │   └── RaggedRowError          a row has another number of fields than the rows before it
    ├── WidthError                  the number of features is not the expected one
    └── ValueRangeError             a value is missing, NaN or infinite where that is not allowed

Every error here is the fault of the data, never of this code: training maps it to a customer's error,
serving to a 4xx status. Messages name the place (file, row or byte offset), the value, and what was expected.
"""


class DataError(ValueError):
    """Input data cannot be used as it is."""


class ContentTypeError(DataError):
    """A content type is malformed or not one that can be read here."""


class CompressedDataError(DataError):
    """Data that is compressed with gzip is damaged or ends early, or it is compressed in another way."""


class EmptyDataError(DataError):
    """There is no row where at least one is needed."""


class FrameError(DataError):
    """RecordIO framing is broken."""


class BadMagicError(FrameError):
    """A RecordIO frame does not start with the magic word 0xCED7230A."""


class TruncatedRecordError(FrameError):
    """A RecordIO stream ends inside a frame."""


class RecordError(DataError):
    """The protobuf Record inside a frame is malformed or cannot become a row."""


class ImageError(DataError):
    """An image cannot be decoded, or a record that should hold one does not."""


class ParseError(DataError):
    """Text or Parquet cannot be read as rows of numbers."""


class RaggedRowError(ParseError):
    """A row has another number of fields than the rows before it."""


class WidthError(DataError):
    """Rows have another number of features than expected."""


class ValueRangeError(DataError):
    """A value is missing, NaN or infinite where that is not allowed."""
