"""Reports: one HTML file about a DataFrame of cases."""
