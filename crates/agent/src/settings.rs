//! What settings files say of permissions and the model. Other keys are for what this runtime does not do.

use crate::arguments::Arguments;
use crate::environment::Environment;
use permissions::{Directories, Mode, Permissions, Rule};
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) model: Option<String>,
    permissions: Rules,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Rules {
    allow: Vec<String>,
    deny: Vec<String>,
    ask: Vec<String>,
    default_mode: Option<String>,
    additional_directories: Vec<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("Error: the settings at {origin} cannot be read: {reason}")]
    Unreadable { origin: String, reason: String },
}

/// The settings that apply, the weakest first. A file that is there and broken is an error: its deny rules count.
pub(crate) fn read(
    arguments: &Arguments,
    environment: &Environment,
    cwd: &Path,
) -> Result<Vec<Settings>, SettingsError> {
    let sources = arguments.setting_sources;
    let files = [
        (sources.user, environment.config_directory.join("settings.json")),
        (sources.project, cwd.join(".claude/settings.json")),
        (sources.local, cwd.join(".claude/settings.local.json")),
    ];
    let mut all = Vec::new();
    for (_, path) in files.into_iter().filter(|(is_on, path)| *is_on && path.exists()) {
        all.push(parse_file(&path)?);
    }
    if let Some(given) = &arguments.settings {
        let is_text = given.trim_start().starts_with('{');
        all.push(if is_text {
            parse(given, "--settings")?
        } else {
            parse_file(Path::new(given))?
        });
    }
    Ok(all)
}

fn parse_file(path: &Path) -> Result<Settings, SettingsError> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
        origin: origin.clone(),
        reason: error.to_string(),
    })?;
    parse(&text, &origin)
}

fn parse(text: &str, origin: &str) -> Result<Settings, SettingsError> {
    serde_json::from_str(text).map_err(|error| SettingsError::Unreadable {
        origin: origin.to_owned(),
        reason: error.to_string(),
    })
}

/// Rules of all settings and of the command line together.
pub(crate) fn permissions(arguments: &Arguments, settings: &[Settings], cwd: &Path) -> Permissions {
    let rules = |of: fn(&Rules) -> &Vec<String>, given: &[String]| {
        settings
            .iter()
            .flat_map(|settings| of(&settings.permissions))
            .chain(given)
            .map(|rule| Rule::parse(rule))
            .collect()
    };
    let mut added = arguments.additional_directories.clone();
    added.extend(
        settings
            .iter()
            .flat_map(|settings| settings.permissions.additional_directories.clone()),
    );
    let mode_of = |settings: &Settings| settings.permissions.default_mode.as_deref().and_then(Mode::parse);
    Permissions {
        mode: arguments
            .permission_mode
            .or_else(|| settings.iter().rev().find_map(mode_of))
            .unwrap_or_default(),
        deny: rules(|rules| &rules.deny, &arguments.disallowed_tools),
        ask: rules(|rules| &rules.ask, &[]),
        allow: rules(|rules| &rules.allow, &arguments.allowed_tools),
        directories: Directories::new(cwd.to_owned(), added),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_given_as_text_add_to_the_command_line_s() {
        let arguments = Arguments {
            settings: Some(
                r#"{"model":"m","permissions":{"allow":["Bash(git *)"],"deny":["Write"],"defaultMode":"plan"},"env":{"A":"b"}}"#.to_owned(),
            ),
            allowed_tools: vec!["Read".to_owned()],
            ..Arguments::default()
        };
        let environment = Environment::read([("HOME".to_owned(), "/no/such".to_owned())]);
        let settings = read(&arguments, &environment, Path::new("/no/such")).unwrap();
        let permissions = permissions(&arguments, &settings, Path::new("/no/such"));
        assert_eq!(permissions.mode, Mode::Plan);
        assert_eq!(
            permissions.allow,
            [Rule::parse("Bash(git *)"), Rule::parse("Read")]
        );
        assert!(permissions.removes("Write", None));
    }

    #[test]
    fn broken_settings_are_an_error_and_not_no_settings() {
        let environment = Environment::read([("HOME".to_owned(), "/no/such".to_owned())]);
        for given in ["{", "/no/such/file.json"] {
            let arguments = Arguments {
                settings: Some(given.to_owned()),
                ..Arguments::default()
            };
            assert!(
                read(&arguments, &environment, Path::new("/no/such")).is_err(),
                "{given}"
            );
        }
    }
}
