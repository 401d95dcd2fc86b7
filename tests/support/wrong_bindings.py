"""A module whose bindings are none."""

durafold_bindings = ["stock"]
