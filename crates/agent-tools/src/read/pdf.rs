//! PDF files: whole while they are short, else the pages asked for, as a PDF of their own.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lopdf::{Document, LoadOptions};
use serde_json::json;

use super::{Failure, Opened};
use crate::Outcome;

/// What is opened at all.
const LARGEST_FILE: u64 = 100 << 20;
/// What is handed on; the API takes 32 MB a request, all of it.
const LARGEST_SHOWN: usize = 15 << 20;
const MOST_PAGES_WHOLE: usize = 20;
const MOST_PAGES: usize = 20;
/// For each compressed part that must be opened to find the pages.
const DECOMPRESSED_BYTES: usize = 64 << 20;

/// The mark may stand after other bytes, within the first kilobyte.
pub(super) fn is_pdf(head: &[u8]) -> bool {
    memchr::memmem::find(&head[..head.len().min(1024)], b"%PDF-").is_some()
        && (head.starts_with(b"%PDF-") || head.contains(&0))
}

pub(super) fn read(opened: Opened, pages: Option<&str>) -> Result<Outcome, Failure> {
    let (path, content) = opened.whole("PDF", LARGEST_FILE, "")?;
    let mut document = load(&path, &content)?;
    let total = document.get_pages().len();
    if total == 0 {
        return Err(broken(&path, "it has no pages".to_owned()));
    }
    let wanted = match pages {
        None if total > MOST_PAGES_WHOLE => {
            return Err(Failure::Pages(format!(
                "The PDF has {total} pages; more than {MOST_PAGES_WHOLE} are read in parts. Use `pages`, such as \"1-5\""
            )));
        }
        None => 1..=total,
        Some(pages) => range(pages, total).map_err(Failure::Pages)?,
    };
    let count = wanted.clone().count();
    let shown = if count == total {
        content
    } else {
        only(&path, &mut document, &wanted)?
    };
    if shown.len() > LARGEST_SHOWN {
        let (size, limit) = (shown.len() as u64, LARGEST_SHOWN as u64);
        return Err(Failure::TooLarge {
            kind: "PDF",
            size,
            limit,
            hint: "; use `pages` for fewer pages",
        });
    }
    let data = STANDARD.encode(&shown);
    let result = json!({
        "type": "pdf",
        "file": {"filePath": path, "base64": data, "originalSize": shown.len(), "pages": count, "totalPages": total},
    });
    let text = format!(
        "Pages {} to {} of {total} of {}",
        wanted.start(),
        wanted.end(),
        path.display()
    );
    let document = json!({
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": data},
    });
    Ok(Outcome {
        content: vec![crate::outcome::text_block(text), document],
        is_error: false,
        result,
    })
}

fn load(path: &Path, content: &[u8]) -> Result<Document, Failure> {
    let options = LoadOptions {
        max_decompressed_size: Some(DECOMPRESSED_BYTES),
        ..LoadOptions::default()
    };
    let document =
        Document::load_mem_with_options(content, options).map_err(|error| broken(path, error.to_string()))?;
    if document.is_encrypted() {
        return Err(broken(path, "it is encrypted".to_owned()));
    }
    Ok(document)
}

/// The document with these pages alone.
fn only(
    path: &Path,
    document: &mut Document,
    wanted: &std::ops::RangeInclusive<usize>,
) -> Result<Vec<u8>, Failure> {
    let kept: BTreeSet<usize> = wanted.clone().collect();
    let numbers: Vec<u32> = document.get_pages().into_keys().collect();
    let others: Vec<u32> = numbers
        .into_iter()
        .filter(|number| !kept.contains(&(*number as usize)))
        .collect();
    document.delete_pages(&others);
    document.prune_objects();
    let mut shown = Vec::new();
    document
        .save_to(&mut shown)
        .map_err(|error| broken(path, error.to_string()))?;
    Ok(shown)
}

/// `3`, `1-5` or `10-`, within what the document has.
fn range(pages: &str, total: usize) -> Result<std::ops::RangeInclusive<usize>, String> {
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number > 0);
    let parsed = match pages.split_once('-') {
        None => number(pages).map(|page| (page, page)),
        Some((first, last)) if last.trim().is_empty() => number(first).map(|first| (first, total.max(first))),
        Some((first, last)) => number(first).zip(number(last)),
    };
    let Some((first, last)) = parsed.filter(|(first, last)| first <= last) else {
        return Err(format!(
            "`pages` must be like \"3\", \"1-5\" or \"10-\", not {:?}",
            shortened(pages)
        ));
    };
    if first > total {
        return Err(format!(
            "The PDF has {total} pages; page {first} is beyond its end"
        ));
    }
    let last = last.min(total);
    if last - first >= MOST_PAGES {
        return Err(format!(
            "At most {MOST_PAGES} pages can be read at once; {first} to {last} are more"
        ));
    }
    Ok(first..=last)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn broken(path: &Path, problem: String) -> Failure {
    Failure::Broken {
        path: path.to_owned(),
        kind: "PDF",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_ranges_are_held_against_the_document() {
        for (pages, total, expected) in [
            ("3", 5, Some(3..=3)),
            ("1-5", 5, Some(1..=5)),
            (" 2 - 9 ", 5, Some(2..=5)),
            ("4-", 5, Some(4..=5)),
            ("6", 5, None),
            ("0", 5, None),
            ("5-4", 5, None),
            ("1-21", 50, None),
            ("31-", 50, Some(31..=50)),
            ("30-", 50, None),
            ("-3", 5, None),
            ("", 5, None),
            ("a", 5, None),
            ("99999999999999999999", 5, None),
            ("6-", 5, None),
        ] {
            assert_eq!(range(pages, total).ok(), expected, "{pages:?} of {total}");
        }
    }
}
