"""Composed runs and tree comparison for the tests; never imported at run time."""
