//! The summary of a change set: a line for each file with the lines that came and went, and apart from them what needs
//! a flag of its own, what is never applied, and what the user changed too.

use change_set::{After, Allowed, ChangeSet, Entry, Kind, Lines};
use std::collections::HashSet;
use terminal::Style;
use terminal::text::grouped;

/// Lines of one group; the rest is counted.
const MAX_LINES: usize = 100;
const MAX_PATH_COLUMNS: usize = 60;

pub(crate) fn summary(set: &ChangeSet, allowed: Allowed, style: Style) -> Vec<String> {
    let selection = set.select(allowed);
    let mut lines = vec![heading(set, style)];
    let parents = parents(&set.entries);
    let shown = |entry: &&&Entry| is_shown(entry, &parents);
    let chosen: Vec<&Entry> = selection.chosen.iter().filter(shown).copied().collect();
    let withheld: Vec<&Entry> = selection.withheld.iter().filter(shown).copied().collect();
    let column = chosen
        .iter()
        .chain(&withheld)
        .map(|entry| name(entry).chars().count())
        .max()
        .unwrap_or(0);
    let column = column.min(MAX_PATH_COLUMNS);
    table(&mut lines, &chosen, column, style);
    for (title, group) in groups(&withheld, allowed) {
        lines.push(style.yellow(&title));
        table(&mut lines, &group, column, style);
    }
    if set.refused.count > 0 {
        lines.push(style.yellow("not applied, since the report of it cannot be true:"));
        for refused in set.refused.shown.iter().take(20) {
            lines.push(format!("  {}: {}", refused.path, refused.reason));
        }
        lines.extend(more(set.refused.count, 20));
    }
    let conflicts = selection.conflicts();
    if !conflicts.is_empty() {
        lines.push(style.red("changed by you too, so nothing is applied:"));
        for conflict in conflicts.iter().take(20) {
            lines.push(format!("  {}: {}", conflict.path, conflict.reason));
        }
        lines.extend(more(conflicts.len(), 20));
    }
    lines
}

fn heading(set: &ChangeSet, style: Style) -> String {
    let files = set.entries.iter().filter(|entry| !is_directory(entry)).count();
    let (added, removed) = totals(&set.entries);
    let files = if files == 1 {
        "1 file".to_owned()
    } else {
        format!("{} files", grouped(files as u64))
    };
    style.bold(&format!(
        "changes: {files}, +{} -{}",
        grouped(added as u64),
        grouped(removed as u64)
    ))
}

pub(crate) fn applied_line(count: usize, style: Style) -> String {
    match count {
        0 => "nothing was applied".to_owned(),
        1 => style.green("1 change is applied"),
        count => style.green(&format!("{count} changes are applied")),
    }
}

/// Lines added and removed, as far as they were counted.
pub(crate) fn totals(entries: &[Entry]) -> (usize, usize) {
    entries
        .iter()
        .fold((0, 0), |(added, removed), entry| match entry.lines {
            Lines::Counted {
                added: more,
                removed: less,
            } => (added + more, removed + less),
            _ => (added, removed),
        })
}

/// Flags that an entry needs and does not have, in the order in which they are listed.
pub(crate) fn missing_flags(entry: &Entry, allowed: Allowed) -> Vec<&'static str> {
    let class = entry.class;
    [
        (class.git && !allowed.git, "--apply-git"),
        (class.symlink && !allowed.symlinks, "--apply-symlinks"),
        (class.executable && !allowed.executables, "--apply-executables"),
    ]
    .into_iter()
    .filter_map(|(missing, flag)| missing.then_some(flag))
    .collect()
}

fn groups<'a>(withheld: &[&'a Entry], allowed: Allowed) -> Vec<(String, Vec<&'a Entry>)> {
    let mut groups: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in withheld {
        let flags = missing_flags(entry, allowed);
        let title = if entry.class.special {
            "never applied, since they are sockets, pipes or devices:".to_owned()
        } else if flags.is_empty() {
            "not applied, since something in them stays:".to_owned()
        } else {
            format!("not applied without {}:", flags.join(" and "))
        };
        match groups.iter_mut().find(|(known, _)| *known == title) {
            Some((_, group)) => group.push(entry),
            None => groups.push((title, vec![entry])),
        }
    }
    groups
}

fn table(lines: &mut Vec<String>, entries: &[&Entry], column: usize, style: Style) {
    for entry in entries.iter().take(MAX_LINES) {
        let name = name(entry);
        let padding = " ".repeat(column.saturating_sub(name.chars().count()));
        let line = format!("  {:<8}  {name}{padding}  {}", word(entry), detail(entry, style));
        lines.push(line.trim_end().to_owned());
    }
    lines.extend(more(entries.len(), MAX_LINES));
}

fn more(count: usize, shown: usize) -> Option<String> {
    (count > shown).then(|| format!("  … and {} more", grouped((count - shown) as u64)))
}

pub(crate) fn word(entry: &Entry) -> &'static str {
    match entry.kind {
        Kind::Added => "added",
        Kind::Modified => "edited",
        Kind::ModeChanged => "mode",
        Kind::Removed => "removed",
        Kind::Replaced => "replaced",
    }
}

fn name(entry: &Entry) -> String {
    let mark = if is_directory(entry) { "/" } else { "" };
    format!("{}{mark}", entry.path)
}

fn detail(entry: &Entry, style: Style) -> String {
    let lines = match entry.lines {
        Lines::Counted { added, removed } => {
            let added = (added > 0).then(|| style.green(&format!("+{}", grouped(added as u64))));
            let removed = (removed > 0).then(|| style.red(&format!("-{}", grouped(removed as u64))));
            [added, removed]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        }
        Lines::Binary => "binary".to_owned(),
        Lines::NotCounted => "too large to count".to_owned(),
        Lines::None => String::new(),
    };
    let note = match &entry.after {
        Some(After::Symlink { target }) => format!("-> {}", change_set::printable(target)),
        Some(After::File { executable: true, .. }) if entry.class.executable => "executable".to_owned(),
        Some(After::File {
            executable: false, ..
        }) if entry.kind == Kind::ModeChanged => "no longer executable".to_owned(),
        _ => String::new(),
    };
    [lines, note]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("  ")
}

fn is_directory(entry: &Entry) -> bool {
    match &entry.after {
        Some(after) => *after == After::Directory,
        None => entry
            .before
            .is_some_and(|before| before.kind == change_set::NodeKind::Directory),
    }
}

fn parents(entries: &[Entry]) -> HashSet<change_set::RelativePath> {
    entries.iter().filter_map(|entry| entry.path.parent()).collect()
}

/// A directory is told by what is in it, unless nothing is.
fn is_shown(entry: &Entry, parents: &HashSet<change_set::RelativePath>) -> bool {
    !is_directory(entry) || entry.kind == Kind::Replaced || !parents.contains(&entry.path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{Report, Workspace};

    async fn shown(workspace: &Workspace, report: Report, allowed: Allowed) -> String {
        let set = change_set::collect(&report, &workspace.view()).await.unwrap();
        summary(&set, allowed, Style::new(false)).join("\n")
    }

    fn mixed() -> Report {
        Report::default()
            .file("edited.py", "one\n2\nthree\n", 0o644)
            .directory("sub")
            .file("sub/new.py", "a\nb\n", 0o644)
            .directory("empty")
            .removed("gone.txt")
            .file("image.png", "\0\0", 0o644)
            .file("tool.sh", "#!/bin/sh\n", 0o755)
            .symlink("out", "/etc/passwd")
            .directory(".git")
            .directory(".git/hooks")
            .file(".git/hooks/post-checkout", "#!/bin/sh\n", 0o755)
            .special("pipe")
            .file("../up", "x", 0o644)
    }

    #[tokio::test]
    async fn each_file_has_a_line_and_what_needs_a_flag_stands_apart() {
        let workspace = Workspace::with(&[("edited.py", "one\ntwo\n"), ("gone.txt", "x\n")]);
        let expected = "\
changes: 8 files, +6 -2
  edited    edited.py                 +2 -1
  added     empty/
  removed   gone.txt                  -1
  added     image.png                 binary
  added     sub/new.py                +2
not applied without --apply-git and --apply-executables:
  added     .git/hooks/post-checkout  +1  executable
not applied without --apply-symlinks:
  added     out                       -> /etc/passwd
never applied, since they are sockets, pipes or devices:
  added     pipe
not applied without --apply-executables:
  added     tool.sh                   +1  executable
not applied, since the report of it cannot be true:
  ../up: the path has an empty, \".\" or \"..\" part";
        assert_eq!(shown(&workspace, mixed(), Allowed::default()).await, expected);
    }

    #[tokio::test]
    async fn with_the_flags_only_what_is_never_applied_stands_apart() {
        let workspace = Workspace::with(&[("edited.py", "one\ntwo\n"), ("gone.txt", "x\n")]);
        let all = Allowed {
            git: true,
            symlinks: true,
            executables: true,
        };
        let text = shown(&workspace, mixed(), all).await;
        assert!(!text.contains("--apply"), "{text}");
        assert!(text.contains("never applied"), "{text}");
    }

    #[tokio::test]
    async fn a_conflict_is_named_with_its_reason() {
        let workspace = Workspace::with(&[]);
        workspace.change_meanwhile("both.txt", "user\n");
        let text = shown(
            &workspace,
            Report::default().file("both.txt", "agent\n", 0o644),
            Allowed::default(),
        )
        .await;
        assert!(
            text.ends_with(
                "changed by you too, so nothing is applied:\n  both.txt: it was made or changed after the agent began"
            ),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_long_list_is_cut_and_a_name_cannot_forge_a_line() {
        let workspace = Workspace::with(&[]);
        let report = (0..150).fold(Report::default(), |report, index| {
            report.file(&format!("{index:03}\n  edited    safe.py\u{1b}[1A"), "x\n", 0o644)
        });
        let text = shown(&workspace, report, Allowed::default()).await;
        assert_eq!(text.lines().count(), 102);
        assert!(text.ends_with("… and 50 more"));
        assert!(!text.contains('\u{1b}') && text.contains("000\\u{a}  edited"));
    }
}
