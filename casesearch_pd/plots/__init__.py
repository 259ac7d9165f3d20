"""Plots of a DataFrame of cases: ``df.cases.plot`` returns labelled matplotlib Axes."""
