//! Bytes to text: what the bytes themselves say comes first, then the server, then the page, then a guess.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How far into a page its own declaration is looked for.
const DECLARATION: usize = 1024;

/// Text without NULs and other control characters. `declared` is the server's word.
pub(crate) fn decode(bytes: &[u8], declared: Option<&str>, is_html: bool) -> String {
    let encoding = declared
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .or_else(|| is_html.then(|| in_page(bytes)).flatten())
        .unwrap_or_else(|| guess(bytes));
    // A byte order mark overrules all of them.
    let (text, ..) = encoding.decode(bytes);
    text.chars()
        .filter(|character| matches!(character, '\n' | '\t' | '\r') || !character.is_control())
        .collect()
}

/// The `charset` of a `meta` element.
fn in_page(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(DECLARATION)]).to_ascii_lowercase();
    let (_, rest) = head.split_once("charset")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let label = rest.trim_start_matches(['"', '\'']);
    let end = label
        .find(|character: char| !(character.is_ascii_alphanumeric() || "-_:.".contains(character)))
        .unwrap_or(label.len());
    let encoding = Encoding::for_label(&label.as_bytes()[..end])?;
    // A page whose declaration could be read as ASCII is not UTF-16, whatever it says.
    Some(if encoding.is_ascii_compatible() {
        encoding
    } else {
        UTF_8
    })
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    match std::str::from_utf8(bytes) {
        Ok(_) => UTF_8,
        // Cut inside a character, after others that were whole.
        Err(error) if error.error_len().is_none() && !bytes[..error.valid_up_to()].is_ascii() => UTF_8,
        Err(_) => WINDOWS_1252,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_was_written() {
        let latin = b"<meta charset='iso-8859-1'>caf\xe9";
        for (bytes, declared, is_html, expected) in [
            ("caf\u{e9}".as_bytes(), None, false, "caf\u{e9}"),
            (b"caf\xe9", None, false, "caf\u{e9}"),
            (b"caf\xe9", Some("latin1"), false, "caf\u{e9}"),
            (b"caf\xe9", Some("no-such-charset"), false, "caf\u{e9}"),
            (b"\x83\x65\x83\x58\x83\x67", Some("shift_jis"), false, "テスト"),
            (b"\xff\xfeh\0i\0", Some("utf-8"), false, "hi"),
            (latin, None, true, "<meta charset='iso-8859-1'>caf\u{e9}"),
            (
                b"<meta charset=utf-16le>caf\xc3\xa9",
                None,
                true,
                "<meta charset=utf-16le>caf\u{e9}",
            ),
            (b"<meta charset=\"", None, true, "<meta charset=\""),
            (b"a\0b\x07c\n", None, false, "abc\n"),
            (b"\xc3\xa9caf\xc3", None, false, "\u{e9}caf\u{fffd}"),
        ] {
            assert_eq!(decode(bytes, declared, is_html), expected);
        }
    }
}
