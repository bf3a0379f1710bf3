"""Hostile and odd recordings, what is expected of each, and the doors that they come in by.

`python -m tests.hostile` sends every one through the command and the page's function, and counts what held.
"""
