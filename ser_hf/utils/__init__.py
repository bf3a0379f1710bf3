"""What no other package owns: files written whole, names that are not known, threads."""
