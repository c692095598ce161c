//! Jupyter notebooks: their cells with outputs, as text and images in order.

use serde_json::{Value, json};

use super::{Failure, Opened};
use crate::Outcome;
use crate::outcome::text_block;

const LARGEST_FILE: u64 = 32 << 20;
const LONGEST_OUTPUT: usize = 10_000;
const LONGEST_ANSWER: usize = 256 << 10;
const MOST_IMAGES: usize = 20;
/// In base64, the API's limit.
const LARGEST_IMAGE: usize = 5 << 20;

/// The content is what the file holds, byte for byte.
pub(super) fn read(opened: Opened) -> Result<(Outcome, Vec<u8>), Failure> {
    let (path, content) = opened.whole("notebook", LARGEST_FILE, "; take parts of it with `jq`")?;
    let broken = |problem: String| Failure::Broken {
        path: path.clone(),
        kind: "notebook",
        problem,
    };
    let notebook: Value = serde_json::from_slice(&content).map_err(|error| broken(error.to_string()))?;
    let cells = notebook["cells"]
        .as_array()
        .ok_or_else(|| broken("it has no `cells`".to_owned()))?;
    let language = notebook["metadata"]["language_info"]["name"]
        .as_str()
        .unwrap_or("python");
    let mut page = Page::default();
    let mut described = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        described.push(page.cell(index, cell, language));
    }
    let blocks = page.finish();
    let size: usize = blocks
        .iter()
        .filter_map(|block| block["text"].as_str())
        .map(str::len)
        .sum();
    if size > LONGEST_ANSWER {
        let (size, limit) = (size as u64, LONGEST_ANSWER as u64);
        return Err(Failure::TooLarge {
            kind: "notebook's text",
            size,
            limit,
            hint: "; take parts of it with `jq`",
        });
    }
    let result = json!({"type": "notebook", "file": {"filePath": path, "cells": described}});
    Ok((
        Outcome {
            content: blocks,
            is_error: false,
            result,
        },
        content,
    ))
}

/// Blocks for the model: runs of text between images.
#[derive(Default)]
struct Page {
    blocks: Vec<Value>,
    text: String,
    images: usize,
}

impl Page {
    /// Adds a cell, and gives its description for the host.
    fn cell(&mut self, index: usize, cell: &Value, language: &str) -> Value {
        let id = cell["id"]
            .as_str()
            .map_or_else(|| format!("cell-{index}"), str::to_owned);
        let kind = cell["cell_type"].as_str().unwrap_or("raw");
        let source = joined(&cell["source"]);
        let marked = if kind == "code" {
            format!(" language=\"{language}\"")
        } else {
            String::new()
        };
        let note = format!("<cell id=\"{id}\" type=\"{kind}\"{marked}>\n{source}\n</cell>\n");
        self.text.push_str(&note);
        let outputs = cell["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
        for output in outputs {
            self.output(output);
        }
        json!({"cell_id": id, "cellType": kind, "source": source, "outputs": outputs.len()})
    }

    fn output(&mut self, output: &Value) {
        let text = match output["output_type"].as_str() {
            Some("stream") => joined(&output["text"]),
            Some("error") => joined_lines(&output["traceback"], &output["evalue"]),
            _ => joined(&output["data"]["text/plain"]),
        };
        if !text.is_empty() {
            let cut = text.char_indices().nth(LONGEST_OUTPUT).map(|(end, _)| end);
            let note = cut.map_or_else(String::new, |end| {
                format!("\n… [{} more bytes]", text.len() - end)
            });
            let shown = &text[..cut.unwrap_or(text.len())];
            let note = format!("<output>\n{}{note}\n</output>\n", shown.trim_end_matches('\n'));
            self.text.push_str(&note);
        }
        for media_type in ["image/png", "image/jpeg"] {
            let data: String = joined(&output["data"][media_type]).split_whitespace().collect();
            if data.is_empty() {
                continue;
            }
            if self.images == MOST_IMAGES || data.len() > LARGEST_IMAGE || !is_base64(&data) {
                self.text
                    .push_str("<output>[an image that is not shown]</output>\n");
                continue;
            }
            self.images += 1;
            self.end_text();
            self.blocks.push(
                json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}),
            );
        }
    }

    fn end_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.blocks.push(text_block(text.trim_end_matches('\n')));
        }
    }

    fn finish(mut self) -> Vec<Value> {
        self.end_text();
        if self.blocks.is_empty() {
            self.blocks.push(text_block("(The notebook has no cells)"));
        }
        self.blocks
    }
}

/// The format writes texts as a string or as a list of strings.
fn joined(text: &Value) -> String {
    match text {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

fn joined_lines(lines: &Value, otherwise: &Value) -> String {
    let lines: Vec<&str> = lines
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if lines.is_empty() {
        joined(otherwise)
    } else {
        lines.join("\n")
    }
}

fn is_base64(data: &str) -> bool {
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).is_ok()
}
