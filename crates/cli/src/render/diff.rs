//! A unified diff on a terminal: in colour, and harmless. In a pipe it goes out as it is, since it is for programs.

use change_set::printable;
use terminal::Style;

pub(crate) fn for_terminal(diff: &[u8], style: Style) -> Vec<u8> {
    let mut text = String::new();
    for line in diff.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let shown = line
            .split(|byte| *byte == b'\t')
            .map(printable)
            .collect::<Vec<_>>()
            .join("\t");
        let painted = match line.first() {
            _ if line.starts_with(b"diff ") || line.starts_with(b"--- ") || line.starts_with(b"+++ ") => {
                style.bold(&shown)
            }
            Some(b'@') => style.cyan(&shown),
            Some(b'+') => style.green(&shown),
            Some(b'-') => style.red(&shown),
            _ => shown,
        };
        text.push_str(&painted);
        text.push('\n');
    }
    text.into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_sees_colours_of_ours_and_no_escapes_of_the_file_s() {
        let diff = b"diff --git a/x b/x\n@@ -1 +1 @@\n-old\n+\tnew\x1b[2J\n";
        let plain = String::from_utf8(for_terminal(diff, Style::new(false))).unwrap();
        assert_eq!(plain, "diff --git a/x b/x\n@@ -1 +1 @@\n-old\n+\tnew\\u{1b}[2J\n");
        let colour = String::from_utf8(for_terminal(diff, Style::new(true))).unwrap();
        assert!(colour.contains("\x1b[31m-old\x1b[0m") && !colour.contains("\x1b[2J"));
    }
}
