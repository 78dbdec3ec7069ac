"""Why topics cannot be found by other programs: see ``docs/export.md``."""

WHY_NOT = {"onnx": "a document's topics are found by an iteration until it converges, and not by a graph of fixed size"}
