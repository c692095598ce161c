//! What a tool answered, as blocks of the Messages API: bounded, and in words where a model cannot see it.

use crate::message::shortened;
use serde_json::{Value, json};

/// Images that the Messages API takes.
const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

const DOCUMENT_TYPE: &str = "application/pdf";

/// How much of an answer is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of all texts together.
    pub characters: usize,
    /// Of one image, in base64, as the Messages API takes it.
    pub image_bytes: usize,
    pub images: usize,
    /// Of all documents together, in base64.
    pub document_bytes: usize,
    pub blocks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 25,000 tokens at four characters each.
            characters: 100_000,
            image_bytes: 5 << 20,
            images: 20,
            // What a request of the Messages API holds.
            document_bytes: 32 << 20,
            blocks: 200,
        }
    }
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Never empty.
    pub blocks: Vec<Value>,
    /// The tool itself says that it failed.
    pub is_error: bool,
}

impl Content {
    /// Of the result of `tools/call`.
    pub fn of(result: &Value, limits: Limits) -> Self {
        let is_error = result["isError"].as_bool().unwrap_or(false);
        let given = result["content"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut kept = Kept {
            blocks: Vec::new(),
            characters_left: limits.characters,
            images_left: if is_error { 0 } else { limits.images },
            document_bytes_left: if is_error { 0 } else { limits.document_bytes },
            limits,
        };
        for block in given.iter().take(limits.blocks) {
            kept.add(block);
        }
        if given.is_empty()
            && let Some(structured) = result.get("structuredContent").filter(|value| !value.is_null())
        {
            kept.add_text(&structured.to_string());
        }
        let mut blocks = kept.blocks;
        if given.len() > limits.blocks {
            blocks.push(text_block(&format!(
                "[{} more parts were left out]",
                given.len() - limits.blocks
            )));
        }
        if blocks.is_empty() {
            blocks.push(text_block("(The tool completed with no output)"));
        }
        Self { blocks, is_error }
    }
}

struct Kept {
    blocks: Vec<Value>,
    characters_left: usize,
    images_left: usize,
    document_bytes_left: usize,
    limits: Limits,
}

impl Kept {
    fn add(&mut self, block: &Value) {
        match block["type"].as_str() {
            Some("text") => self.add_text(block["text"].as_str().unwrap_or_default()),
            Some("image") => match self.image(block) {
                Some(image) => {
                    self.images_left -= 1;
                    self.blocks.push(image);
                }
                None => self.add_text(&described(block)),
            },
            Some("resource") if block["resource"]["text"].is_string() => {
                let resource = &block["resource"];
                let uri = shortened(resource["uri"].as_str().unwrap_or_default(), 2_000);
                let text = resource["text"].as_str().unwrap_or_default();
                self.add_text(&format!("[Resource {uri}]\n{text}"));
            }
            Some("resource") => match self.document(block) {
                Some(document) => self.blocks.push(document),
                None => self.add_text(&described(block)),
            },
            _ => self.add_text(&described(block)),
        }
    }

    fn add_text(&mut self, text: &str) {
        if text.is_empty() || self.characters_left == 0 {
            return;
        }
        if let Some((end, _)) = text.char_indices().nth(self.characters_left) {
            self.characters_left = 0;
            let note = format!(
                "{}\n[The rest was left out: the answer is longer than {} characters]",
                &text[..end],
                self.limits.characters
            );
            self.blocks.push(text_block(&note));
            return;
        }
        self.characters_left -= text.chars().count();
        self.blocks.push(text_block(text));
    }

    fn image(&self, block: &Value) -> Option<Value> {
        let media_type = block["mimeType"].as_str()?;
        let data = block["data"].as_str()?;
        let fits = self.images_left > 0
            && IMAGE_TYPES.contains(&media_type)
            && !data.is_empty()
            && data.len() <= self.limits.image_bytes
            && is_base64(data);
        fits.then(|| json!({"type":"image","source":{"type":"base64","media_type":media_type,"data":data}}))
    }

    /// The one kind of document that the Messages API takes in base64.
    fn document(&mut self, block: &Value) -> Option<Value> {
        let resource = &block["resource"];
        let data = resource["blob"].as_str()?;
        let fits = resource["mimeType"] == DOCUMENT_TYPE
            && !data.is_empty()
            && data.len() <= self.document_bytes_left
            && is_base64(data);
        fits.then(|| {
            self.document_bytes_left -= data.len();
            json!({"type":"document","source":{"type":"base64","media_type":DOCUMENT_TYPE,"data":data}})
        })
    }
}

fn is_base64(data: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    data.bytes().all(is_digit)
}

fn text_block(text: &str) -> Value {
    json!({"type":"text","text":text})
}

/// In words, what a model cannot be shown.
pub fn described(block: &Value) -> String {
    let kind = shortened(block["type"].as_str().unwrap_or("nameless part"), 50);
    let inner = if block["resource"].is_object() {
        &block["resource"]
    } else {
        block
    };
    let field = |key: &str| inner[key].as_str().map(|text| shortened(text, 2_000));
    let mut words = vec![match kind.as_str() {
        "resource_link" => "link to a resource".to_owned(),
        _ => format!("{kind} that cannot be shown"),
    }];
    words.extend(field("name").map(|name| format!("named {name}")));
    words.extend(field("uri").map(|uri| format!("at {uri}")));
    words.extend(field("mimeType").map(|kind| format!("of type {kind}")));
    if let Some(data) = inner["data"].as_str().or(inner["blob"].as_str()) {
        words.push(format!("of {} bytes", data.len() / 4 * 3));
    }
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &Value) -> Content {
        Content::of(&json!({"content": content}), Limits::default())
    }

    #[test]
    fn texts_images_and_documents_stay_and_the_rest_is_described() {
        let content = of(&json!([
            {"type":"text","text":"hello"},
            {"type":"image","mimeType":"image/png","data":"aGk="},
            {"type":"image","mimeType":"image/tiff","data":"aGk="},
            {"type":"audio","mimeType":"audio/wav","data":"aGkhaGkh"},
            {"type":"resource","resource":{"uri":"file:///a","text":"inside"}},
            {"type":"resource","resource":{"uri":"file:///b","blob":"aGkh","mimeType":"application/zip"}},
            {"type":"resource","resource":{"uri":"file:///c","blob":"aGkh","mimeType":"application/pdf"}},
            {"type":"resource_link","uri":"https://x","name":"x"},
            {"type":"hologram"},
            7,
        ]));
        let texts: Vec<&str> = content
            .blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect();
        assert_eq!(
            texts,
            [
                "hello",
                "[image that cannot be shown, of type image/tiff, of 3 bytes]",
                "[audio that cannot be shown, of type audio/wav, of 6 bytes]",
                "[Resource file:///a]\ninside",
                "[resource that cannot be shown, at file:///b, of type application/zip, of 3 bytes]",
                "[link to a resource, named x, at https://x]",
                "[hologram that cannot be shown]",
                "[nameless part that cannot be shown]",
            ]
        );
        assert_eq!(
            content.blocks[1],
            json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}})
        );
        assert_eq!(
            content.blocks[6],
            json!({"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"aGkh"}})
        );
        assert!(!content.is_error);
    }

    #[test]
    fn an_error_holds_text_alone_as_the_api_wants_it() {
        let pdf = json!({"uri":"file:///c","blob":"aGkh","mimeType":"application/pdf"});
        let result = json!({"isError":true,"content":[{"type":"image","mimeType":"image/png","data":"aGk="},
            {"type":"resource","resource":pdf},{"type":"text","text":"no"}]});
        let content = Content::of(&result, Limits::default());
        assert!(content.is_error && content.blocks.iter().all(|block| block["type"] == "text"));
    }

    #[test]
    fn nothing_and_nonsense_are_said_to_be_nothing() {
        for result in [
            json!({}),
            json!({"content":[]}),
            json!({"content":"x"}),
            json!({"content":[{"type":"text"}]}),
        ] {
            let content = Content::of(&result, Limits::default());
            assert_eq!(
                content.blocks[0]["text"], "(The tool completed with no output)",
                "{result}"
            );
        }
        let structured = Content::of(&json!({"structuredContent":{"sum":3}}), Limits::default());
        assert_eq!(structured.blocks, [text_block("{\"sum\":3}")]);
    }

    #[test]
    fn what_is_too_much_is_cut_and_said() {
        let limits = Limits {
            characters: 10,
            image_bytes: 8,
            images: 1,
            document_bytes: 7,
            blocks: 4,
        };
        let image = json!({"type":"image","mimeType":"image/png","data":"aGk="});
        let large = json!({"type":"image","mimeType":"image/png","data":"aGkhaGkhaGkh"});
        let long = json!({"type":"text","text":"é".repeat(8)});
        let content = Content::of(
            &json!({"content":[image, long, long, long, image, large]}),
            limits,
        );
        assert_eq!(content.blocks[0]["type"], "image");
        assert_eq!(content.blocks[1]["text"], "é".repeat(8));
        let cut = content.blocks[2]["text"].as_str().unwrap();
        assert!(
            cut.starts_with("éé\n[The rest was left out") && cut.contains("longer than 10"),
            "{cut}"
        );
        assert_eq!(content.blocks[3]["text"], "[2 more parts were left out]");
        assert_eq!(content.blocks.len(), 4);
        let content = Content::of(&json!({"content":[large]}), limits);
        assert!(
            content.blocks[0]["text"].is_string(),
            "an image that is too large"
        );
        let pdf =
            json!({"type":"resource","resource":{"uri":"u","blob":"aGkh","mimeType":"application/pdf"}});
        let content = Content::of(&json!({"content":[pdf, pdf]}), limits);
        assert_eq!(content.blocks[0]["type"], "document");
        assert!(
            content.blocks[1]["text"].is_string(),
            "documents that are too large together"
        );
    }
}
