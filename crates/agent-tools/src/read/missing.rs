//! What to say of a file that is not there: where one looks, and what may have been meant.

use std::path::Path;

use crate::toolbox::Files;

/// Of a directory with more entries, only these are looked at.
const ENTRIES: usize = 5000;
const LIKENESS: f64 = 0.6;

pub(crate) fn missing(files: &Files, path: &Path) -> String {
    let place = files.place.current();
    let mut text = format!(
        "File does not exist: {}. The current directory is {}",
        path.display(),
        place.display()
    );
    if let Some(near) = near(path).or_else(|| elsewhere(path, &place)) {
        text = format!("{text}. Did you mean {near}?");
    } else if let Some(existing) = path.ancestors().skip(1).find(|directory| directory.is_dir())
        && Some(existing) != path.parent()
    {
        text = format!("{text}. Of its directories only {} exists", existing.display());
    }
    text
}

/// A sibling with the same name but another extension, or with nearly the same name.
fn near(path: &Path) -> Option<String> {
    let (parent, wanted) = (path.parent()?, path.file_name()?.to_str()?);
    let entries = std::fs::read_dir(parent).ok()?.take(ENTRIES).flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let stem = path.file_stem()?.to_str()?;
    let same_stem = names
        .iter()
        .find(|name| Path::new(name).file_stem().and_then(|stem| stem.to_str()) == Some(stem));
    let found = if let Some(name) = same_stem {
        name.as_str()
    } else {
        let likeness = |name: &str| strsim::normalized_damerau_levenshtein(wanted, name);
        names
            .iter()
            .map(|name| (likeness(name), name.as_str()))
            .filter(|(likeness, _)| *likeness >= LIKENESS)
            .max_by(|one, other| one.0.total_cmp(&other.0))?
            .1
    };
    Some(parent.join(found).display().to_string())
}

/// The end of the path, found under the current directory: a wrong root is the commonest mistake.
fn elsewhere(path: &Path, place: &Path) -> Option<String> {
    let parts: Vec<_> = path.iter().skip(1).collect();
    (0..parts.len())
        .map(|from| place.join(parts[from..].iter().collect::<std::path::PathBuf>()))
        .find(|candidate| candidate != path && candidate.is_file())
        .map(|candidate| candidate.display().to_string())
}
