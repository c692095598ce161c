//! The bundled example: `examples/bugfix`, and the script that the simulated model plays for it.

use std::fs;
use std::path::Path;

/// What the simulated model says and does, compiled in.
pub(crate) const SCRIPT: &str = include_str!("../../../examples/bugfix.script.json");
pub(crate) const NAME: &str = "bugfix";

/// In the example and in every copy of it.
const MARKER: &str = ".hostler-example";

/// Whether a workspace is the example or a copy of it.
pub(crate) fn is_example(workspace: &Path) -> bool {
    let marker = workspace.join(MARKER);
    // Nobody's file of that name is read if it is not as small as ours.
    let small = fs::symlink_metadata(&marker).is_ok_and(|metadata| metadata.is_file() && metadata.len() < 64);
    small && fs::read_to_string(&marker).is_ok_and(|text| text.trim() == NAME)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bugfix")
    }

    #[test]
    fn the_example_is_known_by_its_marker_and_other_projects_are_not() {
        assert!(is_example(&example()));
        let other = tempfile::tempdir().unwrap();
        assert!(!is_example(other.path()));
        fs::write(other.path().join(MARKER), "something else").unwrap();
        assert!(!is_example(other.path()));
    }

    #[test]
    fn the_script_edits_what_is_really_in_the_example() {
        let script: serde_json::Value = serde_json::from_str(SCRIPT).unwrap();
        assert_eq!(script["name"], NAME);
        let edits: Vec<&serde_json::Value> = script["turns"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|turn| turn["reply"].as_array())
            .flatten()
            .map(|step| &step["tool_use"])
            .filter(|tool| tool["name"] == "Edit")
            .collect();
        assert_eq!(edits.len(), 1);
        let input = &edits[0]["input"];
        let path = input["file_path"]
            .as_str()
            .unwrap()
            .strip_prefix("/workspace/")
            .unwrap();
        let content = fs::read_to_string(example().join(path)).unwrap();
        assert_eq!(content.matches(input["old_string"].as_str().unwrap()).count(), 1);
        assert!(!content.contains(input["new_string"].as_str().unwrap()));
    }
}
