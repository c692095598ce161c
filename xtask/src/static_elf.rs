//! Whether a binary runs in any image: static (no interpreter, nothing to load) and not position-independent (it does
//! not relocate itself at start).

use object::LittleEndian;
use object::elf::{ET_EXEC, FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

/// Nothing, or why the binary does not start everywhere.
pub(crate) fn refuse(binary: &[u8]) -> Option<String> {
    let header = match FileHeader64::<LittleEndian>::parse(binary) {
        Ok(header) => header,
        Err(error) => return Some(format!("it is no 64-bit little-endian ELF file: {error}")),
    };
    let segments = match header.program_headers(LittleEndian, binary) {
        Ok(segments) => segments,
        Err(error) => return Some(format!("its program headers are broken: {error}")),
    };
    if segments.is_empty() {
        return Some("it has no program headers".to_owned());
    }
    if header.e_type(LittleEndian) != ET_EXEC {
        return Some("it is position-independent (its type is not ET_EXEC)".to_owned());
    }
    for segment in segments {
        match segment.p_type(LittleEndian) {
            PT_INTERP => return Some("it asks for a dynamic loader (PT_INTERP)".to_owned()),
            PT_DYNAMIC => return Some("it has a dynamic section (PT_DYNAMIC)".to_owned()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEADER: usize = 64;
    const SEGMENT: usize = 56;

    /// An ELF file with nothing but a type and the types of its segments.
    fn elf(kind: u16, segments: &[u32]) -> Vec<u8> {
        let mut file = vec![0_u8; HEADER + SEGMENT * segments.len()];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&kind.to_le_bytes());
        file[18..20].copy_from_slice(&62_u16.to_le_bytes());
        file[20] = 1;
        file[32] = HEADER as u8;
        file[52] = HEADER as u8;
        file[54] = SEGMENT as u8;
        file[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        for (index, segment) in segments.iter().enumerate() {
            let at = HEADER + index * SEGMENT;
            file[at..at + 4].copy_from_slice(&segment.to_le_bytes());
        }
        file
    }

    #[test]
    fn only_static_fixed_position_binaries_pass() {
        let (executable, shared) = (2, 3);
        let (load, dynamic, interpreter) = (1, 2, 3);
        assert_eq!(refuse(&elf(executable, &[load, load])), None);
        let table = [
            (elf(shared, &[load]), "position-independent"),
            (elf(executable, &[load, dynamic]), "dynamic section"),
            (elf(executable, &[interpreter, load]), "dynamic loader"),
            (elf(executable, &[]), "no program headers"),
            (b"#!/bin/sh".to_vec(), "no 64-bit"),
        ];
        for (file, reason) in table {
            let refused = refuse(&file).unwrap();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn this_test_itself_is_such_a_binary() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(refuse(&own), None);
    }
}
