"""What is built on mmrep; README.md says how it is imported."""
