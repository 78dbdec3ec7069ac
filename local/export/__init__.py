"""Models in formats of others: ONNX (https://onnx.ai), which many runtimes serve, pickles of scikit-learn's estimators,
and JSON for people and programs. What each model's form is, its algorithm's ``export.py`` says."""
