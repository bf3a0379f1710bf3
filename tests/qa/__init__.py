"""Tools that `make qa` runs: load, kill, fuzz and mutation testing."""
