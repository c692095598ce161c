//! A body as it arrives: as much of it as the limits let in, unpacked.

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::io::Read as _;

/// Bytes, and whether there were more.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_cut: bool,
}

/// Reads until the end or the limit. A connection that breaks is an error: half a page may say the opposite.
pub(crate) async fn take(mut body: Incoming, limit: usize) -> Result<Taken, hyper::Error> {
    let mut taken = Taken::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = limit - taken.bytes.len();
        let data: Bytes = data;
        taken.bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            taken.is_cut = true;
            break;
        }
    }
    Ok(taken)
}

/// Unpacks gzip up to the limit, so that a small body cannot become a large one. What comes before an error is kept,
/// if the packed bytes were cut themselves.
pub(crate) fn unpack(packed: &Taken, limit: usize) -> std::io::Result<Taken> {
    let mut bytes = Vec::new();
    let mut reader = MultiGzDecoder::new(packed.bytes.as_slice()).take(limit as u64 + 1);
    match reader.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(_) if packed.is_cut && !bytes.is_empty() => {}
        Err(error) => return Err(error),
    }
    let is_cut = packed.is_cut || bytes.len() > limit;
    bytes.truncate(limit);
    Ok(Taken { bytes, is_cut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: Vec<u8>, is_cut: bool, limit: usize) -> std::io::Result<(usize, bool)> {
        let taken = unpack(&Taken { bytes, is_cut }, limit)?;
        Ok((taken.bytes.len(), taken.is_cut))
    }

    #[test]
    fn a_bomb_is_unpacked_to_the_limit_and_no_further() {
        let bomb = packed(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert_eq!(unpacked(bomb, false, 1 << 20).unwrap(), (1 << 20, true));
        let two = [packed(&[b'a'; 10]), packed(&[b'b'; 10])].concat();
        assert_eq!(unpacked(two, false, 100).unwrap(), (20, false));
    }

    #[test]
    fn what_is_broken_is_an_error_unless_it_was_cut() {
        let whole = packed(&(0..=255).cycle().take(100_000).collect::<Vec<u8>>());
        let half = whole[..whole.len() / 2].to_vec();
        assert!(unpacked(half.clone(), false, 1 << 20).is_err());
        let (length, is_cut) = unpacked(half, true, 1 << 20).unwrap();
        assert!(length > 0 && is_cut);
        assert!(unpacked(b"not gzip at all".to_vec(), false, 100).is_err());
        assert!(unpacked(Vec::new(), true, 100).is_err());
    }
}
