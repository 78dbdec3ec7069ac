"""Batches to models to predictions: one folder an algorithm, all behind one interface."""
