"""Topics for other programs, and why these cannot find the mixture of a document: see ``docs/export.md``."""

from algorithms.common.documents import arrays_as_json as to_json  # noqa: F401 - oba export looks for it here

WHY_NOT = {
    "onnx": "a document's topics are found by an iteration until it converges, and not by a graph of fixed size; "
    "json has alpha and beta",
    "sklearn": "LatentDirichletAllocation has one prior for all topics where this model has one for each, and finds a "
    "document's topics by other steps: its answers would be others; json has alpha and beta",
}
