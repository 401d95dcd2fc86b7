"""Settings as text: `config show`, and the page `docs/reference/settings.md`."""

from __future__ import annotations

import json
from typing import Final

from durafold_server.settings import SETTINGS, Resolved, Setting


def as_text(resolved: Resolved) -> str:
    """Each value with its source, for people."""
    rows = [
        (each.setting.name, json.dumps(each.setting.shown(each.value)), each.source)
        for each in resolved.chosen
    ]
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows if len(value) <= 40)
    return "".join(
        f"{name:<{name_width}} = {value:<{value_width}}  # {source}\n" for name, value, source in rows
    )


def as_json(resolved: Resolved) -> str:
    """The same for programs: name → value and source."""
    document = {
        each.setting.name: {"value": each.setting.shown(each.value), "source": each.source}
        for each in resolved.chosen
    }
    return json.dumps(document, indent=2) + "\n"


def reference_page() -> str:
    """`docs/reference/settings.md`."""
    rows = "".join(
        f"| `{setting.name}` | `{setting.shown_default}` | `{setting.usual_flag}` | `{setting.env}` "
        f"| {_meaning(setting)} |\n"
        for setting in SETTINGS
    )
    return _PAGE_HEAD + rows + _PAGE_FOOT


def _meaning(setting: Setting) -> str:
    """The help text, fit for a cell of a table."""
    text = setting.help.replace("|", "\\|")
    if setting.each and setting.kind == "tokens":
        text = text.replace("[NAME@]", "`[NAME@]", 1).replace("...]; ", "...]`; ", 1)
    choices = f" ({', '.join(f'`{choice}`' for choice in setting.choices)})" if setting.choices else ""
    return f"{text[:1].upper()}{text[1:]}{choices}."


_PAGE_HEAD: Final = """\
# Settings

<!-- Made by `durafold config reference` from server/durafold_server/config.py. Edit that, then run
     `durafold config reference > docs/reference/settings.md`. -->

Every setting of `durafold serve` can come from a flag, an environment variable, or a file. A flag wins over
the environment, that over the file, and the file over the default. `durafold config show` prints what is in
force and where each value comes from; it takes the flags of `serve`, and hides secrets.

The file is `durafold.toml` in the working directory, or else the table `[tool.durafold]` of `pyproject.toml`
there, or what `--config FILE` or `DURAFOLD_CONFIG` names. Its keys are the names below:

```toml
port = 8080
long_poll_timeout_s = 20
memory = false
tokens_file = "/run/secrets/durafold-tokens"
```

Switches have two flags, such as `--memory` and `--no-memory`; in the environment they are `true` or `false`.
Flags for several values can be repeated; in the environment such values are separated by spaces. Paths are
relative to the working directory.

| name | default | flag | environment | meaning |
|---|---|---|---|---|
"""

_PAGE_FOOT: Final = """
What tokens look like and what they allow is in [Control access](../how-to/control-access.md).
"""
