//! Why a call is not done, in the shape that it is answered in.

use guest_protocol::ErrorKind;
use rustix::io::Errno;
use std::io;

/// An answer to the host; the message says what to do where that is not plain.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooLarge, message)
    }

    /// What the kernel's answer means to the host. `doing` reads like "open /workspace/a".
    pub(crate) fn of_system(doing: &str, error: &io::Error) -> Self {
        let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::SRCH) => ErrorKind::NotFound,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Denied,
            Some(Errno::NOSPC | Errno::DQUOT) => ErrorKind::NoSpace,
            Some(Errno::FBIG | Errno::TOOBIG | Errno::OVERFLOW) => ErrorKind::TooLarge,
            Some(
                Errno::NOTDIR
                | Errno::ISDIR
                | Errno::LOOP
                | Errno::NAMETOOLONG
                | Errno::INVAL
                | Errno::NOEXEC
                | Errno::NOTEMPTY
                | Errno::BUSY
                | Errno::TXTBSY,
            ) => ErrorKind::InvalidRequest,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, format!("cannot {doing}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_answers_becomes_a_status() {
        let table = [
            (libc::ENOENT, 404),
            (libc::EACCES, 403),
            (libc::EROFS, 403),
            (libc::ENOSPC, 507),
            (libc::EDQUOT, 507),
            (libc::E2BIG, 413),
            (libc::ELOOP, 400),
            (libc::EIO, 500),
        ];
        for (errno, status) in table {
            let refusal = Refusal::of_system("open /a", &io::Error::from_raw_os_error(errno));
            assert_eq!(refusal.kind.status(), status, "{refusal}");
            assert!(refusal.message.starts_with("cannot open /a: "), "{refusal}");
        }
    }
}
