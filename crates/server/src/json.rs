//! A body as JSON; what is wrong with it is said by its place.

use crate::api_error::ApiError;
use serde_json::Value;

/// Of arrays, objects and what is in them: two bytes of JSON can take a hundred of memory.
const MAX_VALUES: usize = 250_000;

pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::invalid_request(format!("the body is not UTF-8: byte {at} begins no character"))
    })?;
    if text.trim_start().is_empty() {
        return Err(ApiError::invalid_request("the body is empty: send a JSON object"));
    }
    if has_too_many_values(text) {
        let message = format!("the body has more than {MAX_VALUES} values in its arrays and objects");
        return Err(ApiError::invalid_request(message));
    }
    serde_json::from_str(text)
        .map_err(|error| ApiError::invalid_request(format!("the body is not JSON: {error}")))
}

/// Counts what begins a value, outside of strings; sound also for what is no JSON.
fn has_too_many_values(text: &str) -> bool {
    let mut bytes = text.bytes();
    let mut values = 0;
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' | b',' if !in_string => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let deep = "[".repeat(1000);
        let table: [(&[u8], &str); 6] = [
            (b"", "the body is empty"),
            (b" \n", "the body is empty"),
            (
                b"{\"a\": 1,\n \"b\" 2}",
                "the body is not JSON: expected `:` at line 2 column 6",
            ),
            (b"{} x", "trailing characters at line 1 column 4"),
            (b"{\"a\": \"\xff\"}", "the body is not UTF-8: byte 7"),
            (deep.as_bytes(), "recursion limit exceeded"),
        ];
        for (bytes, expected) in table {
            let error = parse(bytes).unwrap_err();
            assert!(error.message().contains(expected), "{}", error.message());
        }
    }

    #[test]
    fn a_body_cannot_take_much_more_memory_than_it_is_long() {
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(
            parse(many.as_bytes())
                .unwrap_err()
                .message()
                .contains("more than")
        );
        let few = format!("[\"{}\"]", "\\\",[{".repeat(MAX_VALUES));
        assert!(parse(few.as_bytes()).is_ok());
    }
}
