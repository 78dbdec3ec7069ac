"""Lines of a log as CloudWatch shows them, in which tuning jobs look for metrics."""

TAB = "#011"
"""What a tab becomes. SageMaker's patterns for XGBoost look for it before a metric; where another metric follows on the
line, their ``(\\S+)`` takes that in after the value."""
