//! The time as transcripts and frames write it.

use time::OffsetDateTime;
use time::macros::format_description;

/// UTC with milliseconds, `2026-11-21T10:00:00.000Z`.
pub(crate) fn timestamp() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::now_utc().format(format).unwrap_or_default()
}

/// `2026-11-21`, in UTC.
pub(crate) fn date() -> String {
    OffsetDateTime::now_utc()
        .format(format_description!("[year]-[month]-[day]"))
        .unwrap_or_default()
}
