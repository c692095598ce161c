//! Server-sent events: records out of pieces, however the pieces are cut. Pure.

/// One record with its three fields; others there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub id: Option<String>,
    pub event: String,
    pub data: String,
}

#[derive(Debug, Default)]
pub struct Records {
    /// What came since the last line end.
    rest: Vec<u8>,
    record: Record,
}

impl Records {
    /// The records that end in this piece.
    pub fn take(&mut self, piece: &[u8]) -> Vec<Record> {
        let mut found = Vec::new();
        let mut piece = piece;
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, after) = piece.split_at(end);
            piece = &after[1..];
            if self.rest.is_empty() {
                self.line(line, &mut found);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole, &mut found);
            }
        }
        self.rest.extend_from_slice(piece);
        found
    }

    fn line(&mut self, line: &[u8], found: &mut Vec<Record>) {
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            let record = std::mem::take(&mut self.record);
            if record != Record::default() {
                found.push(record);
            }
            return;
        }
        let (field, value) = line.split_once(": ").unwrap_or((&line, ""));
        match field {
            "id" => self.record.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.record.event),
            "data" => self.record.data.push_str(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_the_same_however_they_are_cut() {
        let text = "event: ping\ndata: {\"type\":\"ping\"}\n\nid: sevt_1\nevent: agent.message\ndata: {\"a\":\"é: b\"}\n\n";
        let record = |id: Option<&str>, event: &str, data: &str| Record {
            id: id.map(str::to_owned),
            event: event.to_owned(),
            data: data.to_owned(),
        };
        let expected = [
            record(None, "ping", "{\"type\":\"ping\"}"),
            record(Some("sevt_1"), "agent.message", "{\"a\":\"é: b\"}"),
        ];
        for size in 1..=text.len() {
            let mut records = Records::default();
            let found: Vec<Record> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| records.take(piece))
                .collect();
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn what_does_not_end_is_no_record() {
        let mut records = Records::default();
        assert_eq!(records.take(b"\n\nevent: x\ndata: y\n"), []);
        assert_eq!(records.take(b"\n").len(), 1);
    }
}
