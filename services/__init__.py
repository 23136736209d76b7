"""The four services; each starts alone with `python -m services.<name>.main`."""
