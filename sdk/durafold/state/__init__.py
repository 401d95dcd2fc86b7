"""State as a fold of a stream's messages, and nothing else: no network, no clock, no chance.

- `outcomes`: what can become of an action
- `json_values`, `models`: plain JSON and the user's types
- `ops`: the declared operations of shared values
- `reducer`: one message folded
- `replica`: confirmed state, pending actions, and the view of both
- `snapshot`: a state with its place in the stream, for caches and hydration

Nothing else of ours is imported here, and everything is a pure function of its arguments.
"""
