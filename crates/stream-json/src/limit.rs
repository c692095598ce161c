//! How deep JSON may nest, checked on the bytes before a parser recurses or allocates for it.

/// Deeper JSON is refused. Below `serde_json`'s own 128, so that every accepted line also parses.
pub const MAX_DEPTH: usize = 100;

/// Whether the brackets of `json` nest at most `MAX_DEPTH` deep; says nothing about its being valid.
pub(crate) fn depth_is_allowed(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings_only() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(depth_is_allowed(&nested(MAX_DEPTH)));
        assert!(!depth_is_allowed(&nested(MAX_DEPTH + 1)));
        let quoted = format!(r#"{{"a":"{}\"[[","b":[]}}"#, "[".repeat(500));
        assert!(depth_is_allowed(quoted.as_bytes()));
        assert!(depth_is_allowed(b"]]]]]]"));
    }
}
