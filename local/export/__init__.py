"""Models in formats of others: ONNX (https://onnx.ai), which many runtimes serve, and JSON for people and programs.

``graph`` builds ONNX graphs, ``models`` and its neighbours say what each model's graph is, ``documents`` the JSON.
"""
