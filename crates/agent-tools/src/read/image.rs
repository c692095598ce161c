//! Images, told by their first bytes and handed on as they are.
//!
//! An image that the model API would refuse is refused here: in a conversation it would make every later call fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Failure, Opened};
use crate::Outcome;

/// In base64 this is the API's 5 MiB.
const LARGEST: u64 = 5 * 1024 * 1024 / 4 * 3;
/// The API's, in pixels.
const LONGEST_SIDE: u32 = 8000;

pub(super) fn media_type(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

pub(super) fn read(opened: Opened, media_type: &'static str) -> Result<Outcome, Failure> {
    let (path, content) = opened.whole("image", LARGEST, "; make it smaller, with ImageMagick or Pillow")?;
    let broken = |problem: String| Failure::Broken {
        path: path.clone(),
        kind: "image",
        problem,
    };
    let (width, height) = dimensions(&content).ok_or_else(|| broken("its size cannot be read".to_owned()))?;
    if width == 0 || height == 0 || width > LONGEST_SIDE || height > LONGEST_SIDE {
        return Err(broken(format!(
            "it is {width} by {height} pixels; each side may have 1 to {LONGEST_SIDE}"
        )));
    }
    let data = STANDARD.encode(&content);
    let result = json!({
        "type": "image",
        "file": {
            "base64": data,
            "type": media_type,
            "originalSize": content.len(),
            "dimensions": {"originalWidth": width, "originalHeight": height},
        },
    });
    let block =
        json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}});
    Ok(Outcome {
        content: vec![block],
        is_error: false,
        result,
    })
}

/// Width and height as the header tells them.
fn dimensions(content: &[u8]) -> Option<(u32, u32)> {
    match media_type(content)? {
        "image/png" => Some((big_endian(content.get(16..20)?), big_endian(content.get(20..24)?))),
        "image/gif" => Some((
            little_endian(content.get(6..8)?),
            little_endian(content.get(8..10)?),
        )),
        "image/webp" => webp_dimensions(content),
        _ => jpeg_dimensions(content),
    }
}

fn webp_dimensions(content: &[u8]) -> Option<(u32, u32)> {
    match content.get(12..16)? {
        b"VP8X" => Some((
            little_endian(content.get(24..27)?) + 1,
            little_endian(content.get(27..30)?) + 1,
        )),
        b"VP8L" => {
            let bits = little_endian(content.get(21..25)?);
            Some(((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
        }
        b"VP8 " => Some((
            little_endian(content.get(26..28)?) & 0x3FFF,
            little_endian(content.get(28..30)?) & 0x3FFF,
        )),
        _ => None,
    }
}

/// Goes from segment to segment up to the frame header.
fn jpeg_dimensions(content: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = *content.get(at + 1)?;
        if content.get(at) != Some(&0xFF) {
            return None;
        }
        match marker {
            0xFF => at += 1,
            0x01 | 0xD0..=0xD8 => at += 2,
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                return Some((
                    big_endian(content.get(at + 7..at + 9)?),
                    big_endian(content.get(at + 5..at + 7)?),
                ));
            }
            _ => at += 2 + big_endian(content.get(at + 2..at + 4)?).max(2) as usize,
        }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_read_from_each_format_and_from_no_stump() {
        let mut jpeg =
            b"\xFF\xD8\xFF\xE0\x00\x04ab\xFF\xC4\x00\x03x\xFF\xC2\x00\x11\x08\x01\x02\x03\x04\x03".to_vec();
        jpeg.extend([0; 16]);
        let table: [(&[u8], (u32, u32)); 6] = [
            (
                b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x02\0\0\x03\x04",
                (0x102, 0x304),
            ),
            (b"GIF89a\x02\x01\x04\x03", (0x102, 0x304)),
            (
                b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x01\x01\0\x03\x03\0",
                (0x102, 0x304),
            ),
            (
                b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x01\xc1\xc0\x00",
                (0x102, 0x304),
            ),
            (
                b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x02\x01\x04\x03",
                (0x102, 0x304),
            ),
            (&jpeg, (0x304, 0x102)),
        ];
        for (content, expected) in table {
            assert_eq!(dimensions(content), Some(expected), "{content:?}");
            let needed = (0..content.len()).find(|length| dimensions(&content[..*length]).is_some());
            assert!(needed.is_none_or(|length| length > 8), "a stump has no size");
        }
    }
}
