"""Measures the SDK beside others in one run: `clients` for `durafold bench --client`, `state` for `--state`.

What both share is in `rounds` (who is measured when), `table` (what is printed) and `typescript` (npm's
packages).
"""
