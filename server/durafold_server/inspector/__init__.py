"""The inspector: a web page to look at streams with, and the few routes that it needs beyond the protocol.

- `static/`: the page itself, plain ES modules and CSS, served as they are
- `assets`: those files, with entity tags
- `reducers`: the reducers that the operator named, found and made ready
- `folding`: states at any offset, from keyframes
- `seeking`: the last messages of a stream, without reading all of it
- `pages`: the routes below `/_ui`

The page speaks the protocol like any client: what its visitor may not do, it cannot do either.
"""
