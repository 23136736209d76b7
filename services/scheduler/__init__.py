"""Decides where replicas go: follows the log, decides rounds, appends them."""
