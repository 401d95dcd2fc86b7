"""Reducers at work on the server: states of any stream, and what is asked before an append is accepted.

- `registered`: the reducers that the operator named, found and made ready
- `bindings`: which streams are bound to which of them
- `judging`: whether messages may be appended, given the state before them: a pure function
- `folds`: a stream's data folded and judged, in threads
- `lanes`: one stream bound to a reducer: its folded state, and its appends one after the other
- `sizes`: how large states are
- `workers`: threads to run the operator's code in
- `checkpoints`: folded states that outlive the process, and the data that led to them
- `gate`: what the service asks, for all streams
- `hydration`: a folded state as an answer to GET
- `folding`: states at any offset, from keyframes

Streams that are bound to nothing have nothing to do with any of this.
"""
