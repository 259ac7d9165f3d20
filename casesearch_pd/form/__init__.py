"""The filter form: exploring without typing."""
