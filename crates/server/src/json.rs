//! A body as JSON; what is wrong with it is said by its place.

use crate::api_error::ApiError;
use serde_json::Value;

pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::invalid_request(format!("the body is not UTF-8: byte {at} begins no character"))
    })?;
    if text.trim_start().is_empty() {
        return Err(ApiError::invalid_request("the body is empty: send a JSON object"));
    }
    serde_json::from_str(text)
        .map_err(|error| ApiError::invalid_request(format!("the body is not JSON: {error}")))
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
}
