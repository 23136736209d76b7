"""The vocabulary of Fogbank: ids, amounts, states, events and the rules by which they fold.

Everything here is pure: no I/O, no clock, no randomness. Instants are integers, microseconds
since 1970, and arrive as arguments.
"""
