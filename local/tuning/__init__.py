"""Hyperparameter tuning as SageMaker's tuning jobs do it, with Optuna as the engine.

``config`` reads what is searched, ``checks`` compares it with an algorithm's declaration, ``tuner`` starts one training
job after another by a function that it is given, ``search`` asks Optuna for their hyperparameters.
"""
