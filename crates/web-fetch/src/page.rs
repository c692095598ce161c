//! What a page comes to: its kind decided by its type, its bytes turned into text.

use crate::charset;
use crate::markdown;
use url::Url;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Where it was found, after redirects.
    pub url: String,
    pub status: u16,
    pub status_text: String,
    /// As they came over the wire.
    pub bytes: usize,
    pub text: String,
    /// There was more than the limits let in.
    pub is_cut: bool,
}

/// What a body is by its declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Html,
    Text,
    /// Nothing was declared.
    Unknown,
}

/// `None` for what is no text.
pub(crate) fn kind(media_type: &str) -> Option<Kind> {
    match media_type {
        "" => Some(Kind::Unknown),
        "text/html" | "application/xhtml+xml" => Some(Kind::Html),
        "application/json"
        | "application/ld+json"
        | "application/xml"
        | "application/javascript"
        | "application/ecmascript"
        | "application/x-javascript"
        | "application/x-ndjson"
        | "application/yaml"
        | "application/x-yaml"
        | "application/toml"
        | "application/x-sh"
        | "application/sql"
        | "application/graphql"
        | "application/rtf"
        | "application/x-www-form-urlencoded" => Some(Kind::Text),
        other
            if other.starts_with("text/")
                || other.ends_with("+json")
                || other.ends_with("+xml")
                || other.ends_with("+yaml") =>
        {
            Some(Kind::Text)
        }
        _ => None,
    }
}

/// The text of a body, at most `limit` bytes of it, and whether that was all; `None` for undeclared bytes that are no
/// text.
pub(crate) fn text(
    bytes: &[u8],
    kind: Kind,
    charset: Option<&str>,
    base: &Url,
    limit: usize,
) -> Option<(String, bool)> {
    let start = &bytes[..bytes.len().min(1024)];
    let kind = match kind {
        Kind::Unknown if start.contains(&0) => return None,
        Kind::Unknown if looks_like_html(start) => Kind::Html,
        other => other,
    };
    let mut text = charset::decode(bytes, charset, kind == Kind::Html);
    if kind == Kind::Html {
        return Some(markdown::of_html(&text, base, limit));
    }
    let is_cut = text.len() > limit;
    if is_cut {
        let mut end = limit;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    Some((text, is_cut))
}

fn looks_like_html(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_say_what_is_text() {
        for (media_type, expected) in [
            ("text/html", Some(Kind::Html)),
            ("text/markdown", Some(Kind::Text)),
            ("application/vnd.api+json", Some(Kind::Text)),
            ("image/svg+xml", Some(Kind::Text)),
            ("", Some(Kind::Unknown)),
            ("application/pdf", None),
            ("application/octet-stream", None),
            ("image/png", None),
            ("video/mp4", None),
        ] {
            assert_eq!(kind(media_type), expected, "{media_type}");
        }
    }

    #[test]
    fn undeclared_bytes_are_looked_at() {
        let base = Url::parse("https://example.com").unwrap();
        let of = |bytes: &[u8]| text(bytes, Kind::Unknown, None, &base, 100);
        assert_eq!(of(b"plain <b>"), Some(("plain <b>".to_owned(), false)));
        assert_eq!(of(b"\n<!DOCTYPE html><p>hi</p>"), Some(("hi".to_owned(), false)));
        assert_eq!(of(b"\x7fELF\0\0"), None);
        let (cut, is_cut) = of("é".repeat(80).as_bytes()).unwrap();
        assert_eq!((cut.len(), is_cut), (100, true));
    }
}
