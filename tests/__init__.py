"""The tests, and the clients and stubs that they share."""
