"""Metrics of a DataFrame of cases; knows no service and draws nothing."""
