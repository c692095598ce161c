//! `hostler runtimes list`.

use crate::render::facts::size;
use runtimes::{Listed, Origin, Wanted};
use serde_json::{Value, json};
use terminal::Terminal;
use terminal::text::{json_line, minute, one_line};
use time::format_description::well_known::Rfc3339;

const VERSION_COLUMNS: usize = 20;
/// Of where a version came from.
const FROM_COLUMNS: usize = 40;

/// `pin` holds the default.
pub(super) fn print(
    listed: &[Listed],
    pin: Option<&Wanted>,
    json: bool,
    flags: &str,
    terminal: &mut Terminal,
) {
    if json {
        for one in listed {
            let line = json_line(&as_json(one, pin).to_string());
            terminal.output(format!("{line}\n").as_bytes());
        }
        return;
    }
    if listed.is_empty() {
        terminal.line(&format!(
            "no versions of claude: hostler runtimes install claude{flags} gets one"
        ));
        return;
    }
    let head = format!(
        "{:<8}  {:<VERSION_COLUMNS$}  {:<10}  {:<16}  {:<FROM_COLUMNS$}  STATE",
        "RUNTIME", "VERSION", "SIZE", "INSTALLED (UTC)", "FROM"
    );
    let mut lines = vec![terminal.out_style().bold(&head)];
    lines.extend(listed.iter().map(|one| row(one, pin)));
    lines.push(String::new());
    terminal.output(lines.join("\n").as_bytes());
}

fn row(listed: &Listed, pin: Option<&Wanted>) -> String {
    let (bytes, installed, from) = match &listed.about {
        Ok(about) => (
            size(about.size),
            minute(about.installed_at),
            origin(&about.origin),
        ),
        Err(error) => (
            "-".to_owned(),
            "-".to_owned(),
            one_line(&error.to_string(), FROM_COLUMNS),
        ),
    };
    format!(
        "{:<8}  {:<VERSION_COLUMNS$}  {bytes:<10}  {installed:<16}  {from:<FROM_COLUMNS$}  {}",
        "claude",
        one_line(&listed.version.to_string(), VERSION_COLUMNS),
        one_line(&states(listed, pin).join(", "), 200)
    )
    .trim_end()
    .to_owned()
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Registry { registry, .. } => one_line(registry, FROM_COLUMNS),
        Origin::File { path } => one_line(&path.to_string_lossy(), FROM_COLUMNS),
    }
}

fn states(listed: &Listed, pin: Option<&Wanted>) -> Vec<String> {
    let mut states = Vec::new();
    states.extend(listed.is_default.then(|| "default".to_owned()));
    let pin = pin.filter(|_| listed.is_default);
    states.extend(pin.map(|pin| format!("pinned to {pin}")));
    states.extend(listed.canary_share.map(|share| format!("on trial for {share} %")));
    states
        .extend((!listed.pinned_by.is_empty()).then(|| format!("pinned by {}", listed.pinned_by.join(", "))));
    states.extend(listed.is_in_use.then(|| "in use".to_owned()));
    states.extend(
        listed
            .refused
            .as_ref()
            .map(|reason| format!("out of use: {reason}")),
    );
    states
}

fn as_json(listed: &Listed, pin: Option<&Wanted>) -> Value {
    let mut object = json!({
        "runtime": "claude",
        "version": listed.version.to_string(),
        "default": listed.is_default,
        "pinned_to": pin.filter(|_| listed.is_default),
        "canary_share_percent": listed.canary_share,
        "pinned_by": listed.pinned_by,
        "in_use": listed.is_in_use,
        "refused": listed.refused,
    });
    match &listed.about {
        Ok(about) => {
            object["size"] = about.size.into();
            object["installed_at"] = about.installed_at.format(&Rfc3339).ok().into();
            object["from"] = json!(about.origin);
            object["integrity"] = about.integrity.clone().into();
        }
        Err(error) => object["error"] = error.to_string().into(),
    }
    object
}
