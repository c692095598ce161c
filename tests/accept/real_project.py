"""A real project with its own test suite: one bug is planted, the fix is scripted, everything else is real.

The suite fails before; the agent runs it in its sandbox, edits, and runs it again; the change set is exactly the fix; the
original is untouched until it is applied, and afterwards the suite passes on the host.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROJECT = "more-itertools==10.5.0"
FILE = "more_itertools/more.py"
RIGHT = "return sum(compress(repeat(1), zip(iterable)))"
WRONG = "return sum(compress(repeat(1), zip(iterable))) + 1"
PYTHON = "/usr/bin/python3"
SUITE = [PYTHON, "-B", "-m", "unittest", "-q"]


def main():
    binary = os.environ["HOSTLER_BIN"]
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        project = fetch(place)
        source = project / FILE
        plant(source)
        planted = source.read_text()
        assert not suite_passes(project), "the planted bug goes unnoticed"

        script = place / "script.json"
        script.write_text(json.dumps(SCRIPT))
        environment = {**os.environ, "HOSTLER_DATA": str(place / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("ANTHROPIC_API_KEY", None)

        def hostler(*arguments, code=0):
            command = [binary, *map(str, arguments)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            return done

        run = hostler("run", "--workspace", project, "--simulate", script, "--json", "The tests fail. Fix the bug.")
        answer = json.loads(run.stdout.splitlines()[-1])
        assert "OK" in answer["result"], answer
        changes = [(change["path"], change["added"], change["removed"]) for change in answer["changes"]]
        assert changes == [(FILE, 1, 1)], changes
        assert source.read_text() == planted, "the original changed before it was applied"

        session = answer["session_id"]
        diff = hostler("sessions", "diff", session).stdout
        edits = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        assert edits == [f"-    {WRONG}", f"+    {RIGHT}"], diff
        hostler("sessions", "apply", session)
        assert RIGHT in source.read_text() and WRONG not in source.read_text()
        assert suite_passes(project), "the suite fails after the fix was applied"
        hostler("sessions", "rm", session)
        assert not list((place / "data" / "sandboxes").iterdir()), "the removed session left files"
    print("a real project: fixed in the sandbox, reviewed, applied")


def fetch(place):
    """The source distribution, from whatever index pip is set up for."""
    environment = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=300)
    source_only = ["--no-deps", "--no-binary", ":all:"]
    command = [environment / "bin" / "pip", "download", "-q", *source_only, "-d", place, PROJECT]
    subprocess.run(command, check=True, timeout=300)
    shutil.rmtree(environment)
    [archive] = place.glob("*.tar.gz")
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", place], check=True, timeout=60)
    archive.unlink()
    [project] = [entry for entry in place.iterdir() if entry.is_dir()]
    if os.geteuid() != 0:
        # The agent works as this user, and sees nothing of other groups.
        shutil.chown(project, group=os.getegid())
    return project


def plant(source):
    text = source.read_text()
    assert text.count(RIGHT) == 1, "the project is not the one this test knows"
    source.write_text(text.replace(RIGHT, WRONG))


def suite_passes(project):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(SUITE, cwd=project, env=environment, capture_output=True, timeout=300)
    return done.returncode == 0


def bash(command):
    return {"reply": [{"tool_use": {"name": "Bash", "input": {"command": command}}}]}


RUN = " ".join(SUITE) + " 2>&1 | tail -n 40"
SCRIPT = {
    "name": "real-project",
    "turns": [
        bash(RUN),
        [
            {
                "when": {"last_tool_result_contains": "FAILED"},
                "reply": [
                    {"text": "ilen counts one too many."},
                    {"tool_use": {"name": "Grep", "input": {"pattern": "def ilen", "output_mode": "content", "-n": True}}},
                    {"tool_use": {"name": "Read", "input": {"file_path": f"/workspace/{FILE}", "offset": 460, "limit": 25}}},
                ],
            },
            {"reply": [{"text": "They do not fail here:\n{{last_tool_result}}"}]},
        ],
        {
            "reply": [
                {
                    "tool_use": {
                        "name": "Edit",
                        "input": {"file_path": f"/workspace/{FILE}", "old_string": WRONG, "new_string": RIGHT},
                    }
                }
            ]
        },
        bash(RUN),
        {"reply": [{"text": "The suite says:\n{{last_tool_result}}"}]},
    ],
}

if __name__ == "__main__":
    main()
