"""Why translations cannot be made by other programs: see ``docs/export.md``."""

WHY_NOT = {
    "sklearn": "scikit-learn has no model that translates",
    "onnx": "a translation is a search that asks the network again for each word, and no graph of fixed size",
    "json": "a network's weights are no document; MXNet opens the model's file params.best",
}
