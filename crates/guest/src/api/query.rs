//! The query of a request. What an endpoint does not know is an error, so that a misspelt option is never ignored.

use crate::refusal::Refusal;
use percent_encoding::percent_decode_str;

pub(super) struct Query {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if pairs.iter().any(|(known, _)| known == name) {
                return Err(Refusal::invalid(format!("{name} is there twice")));
            }
            pairs.push((name.to_owned(), percent_decode_str(value).collect()));
        }
        Ok(Self { pairs })
    }

    pub(super) fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let index = self.pairs.iter().position(|(known, _)| known == name)?;
        Some(self.pairs.swap_remove(index).1)
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.bytes(name) else {
            return Ok(None);
        };
        let number = std::str::from_utf8(&value)
            .ok()
            .and_then(|text| text.parse().ok());
        number
            .map(Some)
            .ok_or_else(|| Refusal::invalid(format!("{name} is not a number")))
    }

    pub(super) fn octal(&mut self, name: &str) -> Result<Option<u32>, Refusal> {
        let Some(value) = self.bytes(name) else {
            return Ok(None);
        };
        let number = std::str::from_utf8(&value)
            .ok()
            .and_then(|text| u32::from_str_radix(text, 8).ok());
        number
            .map(Some)
            .ok_or_else(|| Refusal::invalid(format!("{name} is not an octal number")))
    }

    /// `true` or `false`; false if it is missing.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.bytes(name).as_deref() {
            None | Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            Some(_) => Err(Refusal::invalid(format!("{name} is true or false"))),
        }
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Refusal> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::invalid(format!("{name} is not an option here"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    #[test]
    fn values_are_bytes_numbers_and_flags() {
        let mut query = Query::parse("path=%2Fa%FF+b%26&offset=12&mode=0755&follow=true").unwrap();
        assert_eq!(query.bytes("path").unwrap(), b"/a\xff+b&");
        assert_eq!(query.number("offset").unwrap(), Some(12));
        assert_eq!(query.octal("mode").unwrap(), Some(0o755));
        assert!(query.flag("follow").unwrap());
        assert!(!query.flag("eof").unwrap());
        query.end().unwrap();
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(Query::parse("a=1&a=2").is_err());
        assert!(Query::parse("a=1").unwrap().end().is_err());
        for text in ["n=", "n=-1", "n=x", "n=18446744073709551616", "n=%FF"] {
            assert!(Query::parse(text).unwrap().number("n").is_err(), "{text}");
        }
        assert!(Query::parse("mode=9").unwrap().octal("mode").is_err());
        assert!(Query::parse("follow").unwrap().flag("follow").is_err());
    }
}
