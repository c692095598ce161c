//! Text of an agent, fit for a terminal.

use change_set::printable;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Several lines: everything but tabs and line ends that could move the cursor is escaped.
pub fn safe(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        lines.push(
            line.split('\t')
                .map(|part| printable(part.as_bytes()))
                .collect::<Vec<_>>()
                .join("\t"),
        );
    }
    lines.join("\n")
}

/// JSON in one line, with what a terminal would act on escaped as JSON has it: it stays the same value.
pub fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | '\r' => line.push(' '),
            '\u{7f}'..='\u{9f}' => {
                let escaped = format!("\\u{:04x}", u32::from(character));
                line.push_str(&escaped);
            }
            other => line.push(other),
        }
    }
    line
}

/// The first line, escaped, in at most so many columns.
pub fn one_line(text: &str, width: usize) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    // Escapes make it longer, never shorter: a bounded part is all that can be shown.
    let part: String = first
        .trim_end()
        .chars()
        .take(width + 1)
        .map(|c| if c == '\t' { ' ' } else { c })
        .collect();
    let shown = printable(part.as_bytes());
    if shown.chars().count() > width || lines.next().is_some() {
        let kept: String = shown.chars().take(width.saturating_sub(1)).collect();
        format!("{kept}…")
    } else {
        shown
    }
}

/// In UTC.
pub fn minute(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    moment
        .to_offset(UtcOffset::UTC)
        .format(&format)
        .unwrap_or_default()
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_moves_the_cursor() {
        assert_eq!(
            safe("a\x1b[2Jb\r\n\tc\x07\u{9b}d"),
            "a\\u{1b}[2Jb\n\tc\\u{7}\\u{9b}d"
        );
        assert_eq!(safe("a\rb"), "a\\u{d}b");
        assert_eq!(one_line("\n\x1b]0;title\x07", 80), "\\u{1b}]0;title\\u{7}");
    }

    #[test]
    fn json_says_the_same_in_one_harmless_line() {
        let json = "{\"a\":\n \"\u{9b}2J\u{7f}\u{e4}\"}";
        let line = json_line(json);
        assert_eq!(line, "{\"a\":  \"\\u009b2J\\u007f\u{e4}\"}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        assert_eq!(value(&line), value(json));
    }

    #[test]
    fn a_line_is_cut_to_its_width() {
        for (text, width, shown) in [
            ("short", 10, "short"),
            ("exactly ten", 11, "exactly ten"),
            ("rather too long", 8, "rather …"),
            ("one\ntwo", 10, "one…"),
            ("", 5, ""),
        ] {
            assert_eq!(one_line(text, width), shown);
        }
        assert!(one_line(&"\x1b".repeat(1000), 20).chars().count() <= 20);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
