"""Scripts of the simulated model.

Messages say what to do: `say: …` is said again, and a line that ends in `# run` is run in bash as it is.
"""

def when(words, reply=(), **more):
    """What the model replies where the user's last text has these words. What is no key of `when` is the turn's."""
    conditions = {key: more.pop(key) for key in ("model", "has_tool", "system_contains", "last_user_has") if key in more}
    return {"when": {"last_user_text_contains": words, **conditions}, "reply": list(reply), **more}


def uses(name, **given):
    return {"tool_use": {"name": name, "input": given}}


def says(text, **more):
    return {"text": text, **more}


# The result of a tool is said, whatever it was.
SAYS_RESULT = {"when": {"last_tool_result_contains": ""}, "reply": [says("It says: {{last_tool_result}}")]}
SAYS = when("say:", [says("{{last_user_text}}", chunk=5)])
RUNS = when("# run", [uses("Bash", command="{{last_user_line}}")])


def script(*turns, before=()):
    """`before` comes before the results of tools are said."""
    return {"name": "acceptance", "anytime": [*before, SAYS, SAYS_RESULT, *turns, RUNS], "turns": []}
