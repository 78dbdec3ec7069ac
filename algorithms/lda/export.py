"""Why topics cannot be found by other programs: see ``docs/export.md``."""

WHY_NOT = {
    "onnx": "a document's topics are found by an iteration until it converges, and not by a graph of fixed size",
    "sklearn": "LatentDirichletAllocation has one prior for all topics where this model has one for each, and finds a "
    "document's topics by other steps: its answers would be others; algorithms.load(MODEL).model has alpha and beta",
}
