"""The results of a search: table, chart, code, requests and files."""
