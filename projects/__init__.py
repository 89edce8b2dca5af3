"""Projects built on mmrep; README.md says how to import them."""
