//! Which native executable fits this machine, told before anything is downloaded and looked at before anything is
//! installed.
//!
//! Sandboxes run on the machine's own `/usr`, so its C library decides, and hostler's own (static) does not.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const PT_INTERP: u32 = 3;
/// More program headers than any linker writes.
const MAX_PROGRAM_HEADERS: u16 = 256;
const MAX_INTERPRETER_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    X64,
    Arm64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libc {
    Glibc,
    Musl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    pub architecture: Architecture,
    pub libc: Libc,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecutableError {
    #[error("{path} cannot be read: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} is no executable: it begins neither as ELF nor with #!")]
    Kind { path: String },
    #[error("{path} is a damaged ELF file: {reason}")]
    Damaged { path: String, reason: &'static str },
    #[error(
        "{path} is for {found}, and this machine is {platform}: take the package that ends in -{platform}"
    )]
    Elsewhere {
        path: String,
        found: String,
        platform: Platform,
    },
    #[error("hostler knows no claude for {machine}: there are executables for x86_64 and aarch64")]
    Machine { machine: &'static str },
}

/// What of an ELF file decides where it runs.
#[derive(Debug, PartialEq, Eq)]
struct Elf {
    machine: u16,
    interpreter: Option<String>,
}

impl Platform {
    pub fn of_this_machine() -> Result<Self, ExecutableError> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => Architecture::X64,
            "aarch64" => Architecture::Arm64,
            machine => return Err(ExecutableError::Machine { machine }),
        };
        Ok(Self {
            architecture,
            libc: Libc::of(Path::new("/bin/sh")).unwrap_or(Libc::Glibc),
        })
    }

    /// Refuses what this machine could not start: another architecture, another C library, no executable at all.
    pub(crate) fn check(self, path: &Path) -> Result<(), ExecutableError> {
        let name = || path.display().to_string();
        let Some(elf) = read(path)? else {
            return Ok(());
        };
        let architecture = match elf.machine {
            62 => Some(Architecture::X64),
            183 => Some(Architecture::Arm64),
            _ => None,
        };
        let libc = elf.interpreter.as_deref().and_then(Libc::from_interpreter);
        let fits = architecture == Some(self.architecture) && libc.is_none_or(|libc| libc == self.libc);
        if fits {
            return Ok(());
        }
        let found = match architecture {
            Some(architecture) => Platform {
                architecture,
                libc: libc.unwrap_or(self.libc),
            }
            .to_string(),
            None => format!("machine {}", elf.machine),
        };
        Err(ExecutableError::Elsewhere {
            path: name(),
            found,
            platform: self,
        })
    }
}

/// As the packages are named.
impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let architecture = match self.architecture {
            Architecture::X64 => "x64",
            Architecture::Arm64 => "arm64",
        };
        let libc = match self.libc {
            Libc::Glibc => "",
            Libc::Musl => "-musl",
        };
        write!(formatter, "linux-{architecture}{libc}")
    }
}

impl Libc {
    /// The one that a program of the machine asks for: a second one may be installed beside it.
    fn of(program: &Path) -> Option<Self> {
        Self::from_interpreter(&read(program).ok()??.interpreter?)
    }

    fn from_interpreter(path: &str) -> Option<Self> {
        if path.contains("/ld-musl-") {
            Some(Self::Musl)
        } else if path.contains("/ld-linux") {
            Some(Self::Glibc)
        } else {
            None
        }
    }
}

/// `None` for a script.
fn read(path: &Path) -> Result<Option<Elf>, ExecutableError> {
    let name = || path.display().to_string();
    let failed = |source| ExecutableError::Read { path: name(), source };
    let damaged = |reason| ExecutableError::Damaged { path: name(), reason };
    let mut file = File::open(path).map_err(failed)?;
    let mut header = Vec::new();
    (&mut file)
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut header)
        .map_err(failed)?;
    if header.starts_with(b"#!") {
        return Ok(None);
    }
    if !header.starts_with(b"\x7fELF") {
        return Err(ExecutableError::Kind { path: name() });
    }
    if header.len() < HEADER_BYTES || header[4] != 2 || header[5] != 1 {
        return Err(damaged("it is not of 64 bits, little endian"));
    }
    let (at, size, count) = (word(&header, 32), half(&header, 54), half(&header, 56));
    if usize::from(size) != PROGRAM_HEADER_BYTES || count > MAX_PROGRAM_HEADERS {
        return Err(damaged("its program headers have no sensible size"));
    }
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut table = vec![0; PROGRAM_HEADER_BYTES * usize::from(count)];
    file.read_exact(&mut table)
        .map_err(|_| damaged("it ends before its program headers do"))?;
    let interpreter = table
        .chunks_exact(PROGRAM_HEADER_BYTES)
        .find(|entry| u32::from(half(entry, 0)) | u32::from(half(entry, 2)) << 16 == PT_INTERP);
    let interpreter = match interpreter {
        None => None,
        Some(entry) => {
            file.seek(SeekFrom::Start(word(entry, 8))).map_err(failed)?;
            let mut name = Vec::new();
            file.take(word(entry, 32).min(MAX_INTERPRETER_BYTES))
                .read_to_end(&mut name)
                .map_err(failed)?;
            Some(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
        }
    };
    Ok(Some(Elf {
        machine: half(&header, 18),
        interpreter,
    }))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    (0..8).fold(0, |word, index| {
        word | u64::from(bytes[at + index]) << (8 * index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Platform = Platform {
        architecture: Architecture::X64,
        libc: Libc::Glibc,
    };

    /// The head of an ELF file with one program header, which names an interpreter.
    fn elf(machine: u16, interpreter: &str) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + PROGRAM_HEADER_BYTES];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 3;
        bytes[72] = 120;
        bytes[96] = interpreter.len() as u8;
        bytes.extend(interpreter.bytes());
        bytes
    }

    fn checked(bytes: &[u8]) -> Result<(), String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claude");
        std::fs::write(&path, bytes).unwrap();
        HERE.check(&path)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "claude"))
    }

    #[test]
    fn only_what_this_machine_can_start_passes() {
        assert_eq!(checked(&elf(62, "/lib64/ld-linux-x86-64.so.2\0")), Ok(()));
        assert_eq!(checked(b"#!/bin/sh\n"), Ok(()));
        for (bytes, reason) in [
            (
                elf(62, "/lib/ld-musl-x86_64.so.1\0"),
                "claude is for linux-x64-musl, and this machine is linux-x64",
            ),
            (
                elf(183, "/lib/ld-linux-aarch64.so.1\0"),
                "claude is for linux-arm64, and",
            ),
            (elf(243, ""), "claude is for machine 243"),
            (b"\x7fELF\x02\x01".to_vec(), "claude is a damaged ELF file"),
            (
                elf(62, "x")[..100].to_vec(),
                "it ends before its program headers do",
            ),
            (b"MZ".to_vec(), "claude is no executable"),
            (Vec::new(), "claude is no executable"),
        ] {
            let error = checked(&bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn this_machine_can_start_this_test() {
        let platform = Platform::of_this_machine().unwrap();
        platform.check(Path::new("/bin/sh")).unwrap();
    }
}
