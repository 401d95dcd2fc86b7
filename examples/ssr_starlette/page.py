"""The page as HTML, made from a loaded state. Right without JavaScript, alive with it."""

import json
from html import escape

from durafold import LoadedState
from guestbook import Entry, Guestbook


def render(loaded: LoadedState[Guestbook], stream_url: str, error: str = "") -> str:
    # What the script needs to go on from here: the place in the stream, not the state, which is in the page.
    resume = {"stream": stream_url, "offset": loaded.offset}
    entries = loaded.state.entries
    return f"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Guestbook</title>
  <link rel="icon" href="/assets/icon.svg">
  <link rel="stylesheet" href="/assets/page.css">
  <script type="application/json" id="resume">{_in_script(resume)}</script>
  <script type="module" src="/assets/resume.js"></script>
</head>
<body>
  <main>
    <header>
      <h1>Guestbook</h1>
      <p class="lead">The first HTML holds every entry. Turn JavaScript off, reload, and it still does.</p>
    </header>
    <dl class="facts">
      <div><dt>Entries</dt><dd id="count">{len(entries)}</dd></div>
      <div><dt>Messages fetched for this page</dt><dd id="fetched">{loaded.fetched_count}</dd></div>
      <div><dt>Received since</dt><dd id="received">0</dd></div>
    </dl>
    <form method="post" action="/sign">
      <input name="name" placeholder="Your name" aria-label="Your name" maxlength="40" required>
      <input name="text" placeholder="A line for everybody" aria-label="Text" maxlength="280" required>
      <button>Sign</button>
    </form>
    <p class="error" role="alert">{escape(error)}</p>
    <ol id="entries">{"".join(map(_item, reversed(entries)))}</ol>
  </main>
</body>
</html>"""


def _item(entry: Entry) -> str:
    return f"<li><strong>{escape(entry.name)}</strong><span>{escape(entry.text)}</span></li>"


def _in_script(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c")
